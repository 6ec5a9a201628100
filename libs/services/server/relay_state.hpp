// What a relay in a process of its own keeps in its state folder: its key, and what the controller told it last, so
// that it forwards again after a restart while the controller is away (PROTOCOL.md §6.1).
#pragma once

#include <expected>
#include <filesystem>
#include <optional>
#include <string>

#include "base/random.hpp"
#include "identity/keys.hpp"
#include "identity/tokens.hpp"
#include "runtime/os/files.hpp"
#include "services/server/server_error.hpp"

namespace postern::server {

/// Enough to open tickets.
struct RelayMembership {
  std::string network{};  ///< slug
  std::string name{};     ///< of the relay, as tickets have it
  identity::SealKey seal_key{};
  bool operator==(const RelayMembership&) const = default;
};

class RelayState {
 public:
  /// Makes the folder and the key where there are none. One process at a time has it.
  [[nodiscard]] static std::expected<RelayState, ServerError> open(const std::filesystem::path& folder,
                                                                   RandomSource& random);

  [[nodiscard]] const identity::PrivateKey& key() const { return key_; }
  [[nodiscard]] const std::optional<RelayMembership>& membership() const { return membership_; }
  /// The error is one sentence; the relay goes on without having it stored.
  [[nodiscard]] std::expected<void, std::string> store(const RelayMembership& membership);
  void forget();

 private:
  RelayState(std::filesystem::path folder, runtime::LockFile lock, identity::PrivateKey key)
      : folder_(std::move(folder)), lock_(std::move(lock)), key_(std::move(key)) {}

  std::filesystem::path folder_;
  runtime::LockFile lock_;
  identity::PrivateKey key_;
  std::optional<RelayMembership> membership_;
};

}  // namespace postern::server
