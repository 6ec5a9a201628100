// The state folder of a server: master key, database, and the secrets that the master key opens.
#pragma once

#include <expected>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "controller_core/records.hpp"
#include "identity/keys.hpp"
#include "identity/tokens.hpp"
#include "runtime/store/store.hpp"
#include "services/server/certificates.hpp"
#include "services/server/public_address.hpp"
#include "services/server/server_error.hpp"

namespace postern::server {

struct InitRequest {
  std::filesystem::path folder{};
  std::string slug{};
  std::string display_name{};
  PublicAddress address{};
  std::string admin_email{};
  std::optional<std::string> admin_password{};  ///< nothing: a setup link is made
};

struct InitResult {
  std::string url{};
  std::string enrolment_url{};
  std::string ca_digest{};  ///< base64url
  std::optional<std::string> setup_link{};
};

/// Founds the Network: everything is committed in one transaction, and a second time is refused. What an init that was
/// interrupted left behind is taken up.
[[nodiscard]] std::expected<InitResult, ServerError> init_state(const InitRequest& request, WallTime now,
                                                                RandomSource& random);

struct ServerState {
  runtime::Store store;
  identity::SealKey master{};
  controller::NetworkRecord network{};
  std::vector<controller::Record> records{};
  identity::PrivateKey signing{};
  Bytes knock_secret{};
  identity::SealKey relay_seal{};
  identity::PrivateKey root{};
  Leaf leaf{};
};

/// Opens and locks it; renews the leaf when that is due, and commits the new one.
[[nodiscard]] std::expected<ServerState, ServerError> open_state(const std::filesystem::path& folder, WallTime now,
                                                                 RandomSource& random);
/// Makes a new leaf when the present one is due; true when there is a new one.
[[nodiscard]] std::expected<bool, ServerError> renew_leaf(ServerState& state, WallTime now, RandomSource& random);

/// Digest of the key of state.root.
[[nodiscard]] inline const Digest& root_digest(const ServerState& state) {
  return state.root.public_key().digest();
}

}  // namespace postern::server
