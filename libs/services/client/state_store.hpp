// What the daemon remembers in its state folder.
//
//     device.key      the device's private key, PEM, 0600
//     sign-in.json    the server, the account, and whether a person has disconnected by hand
//     names.json      virtual addresses that were given to names (they stay reserved for 24 h)
//     journal.json    changes to the system that have to be undone (journal.hpp)
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "identity/keys.hpp"
#include "resolver/address_pool.hpp"
#include "runtime/http/tls.hpp"
#include "services/client/problem.hpp"

namespace postern::client {

/// A device that is enrolled at a server.
struct SignIn {
  runtime::ServerAddress server;  ///< with the addresses that were found last
  runtime::ServerTrust trust;
  std::string network;
  std::string account;
  std::string device_id;
  bool paused = false;  ///< disconnected by hand: stays so over a restart
};

struct SavedNames {
  resolver::VirtualNetwork network;
  std::vector<resolver::AssignedName> names;
};

class StateStore {
 public:
  explicit StateStore(std::string directory) : directory_(std::move(directory)) {}
  /// Makes the folder (0700).
  [[nodiscard]] std::expected<void, Problem> prepare() const;
  [[nodiscard]] const std::string& directory() const { return directory_; }

  [[nodiscard]] std::expected<std::optional<SignIn>, Problem> load_sign_in() const;
  [[nodiscard]] std::expected<void, Problem> save_sign_in(const SignIn& sign_in) const;
  [[nodiscard]] std::expected<std::optional<identity::PrivateKey>, Problem> load_key() const;
  [[nodiscard]] std::expected<void, Problem> save_key(const identity::PrivateKey& key) const;
  /// Both or neither: where the second cannot be written, the key of before comes back.
  [[nodiscard]] std::expected<void, Problem> save_enrolment(const SignIn& sign_in,
                                                            const identity::PrivateKey& key) const;
  /// Whether an enrolment could be saved now: asked before a person is sent to a browser.
  [[nodiscard]] std::expected<void, Problem> check_writable() const;
  [[nodiscard]] std::expected<void, Problem> forget_sign_in() const;

  /// `now` and `wall` tie the two clocks together. A damaged file counts as none.
  [[nodiscard]] std::optional<SavedNames> load_names(Instant now, WallTime wall) const;
  void save_names(Instant now, WallTime wall, const SavedNames& names) const;

 private:
  [[nodiscard]] std::string path(std::string_view name) const { return directory_ + "/" + std::string(name); }
  std::string directory_;
};

}  // namespace postern::client
