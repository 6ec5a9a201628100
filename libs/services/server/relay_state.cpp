#include "services/server/relay_state.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace postern::server {
namespace {

using config::ExitCode;
using nlohmann::json;

constexpr const char* kKeyFile = "relay.key";
constexpr const char* kMembershipFile = "relay.json";
constexpr const char* kLockFile = "relay.lock";
constexpr std::size_t kFileMax = 64 * 1024;

std::unexpected<ServerError> refuse(ExitCode code, std::string message) {
  return std::unexpected(ServerError{code, std::move(message)});
}

std::expected<identity::PrivateKey, ServerError> load_key(const std::string& path, RandomSource& random) {
  const auto bytes = runtime::read_secret_file(path, kFileMax);
  if (bytes) {
    auto key = identity::PrivateKey::from_pkcs8(*bytes);
    if (key) return std::move(*key);
    return refuse(ExitCode::StateUnusable,
                  path + " is damaged; delete it, and give the relay a new token (postern-server admin relay token)");
  }
  if (bytes.error().kind != runtime::FileErrorKind::NotFound) {
    return refuse(ExitCode::NotPermitted, bytes.error().text);
  }
  auto key = identity::PrivateKey::generate(random);
  if (auto written = runtime::write_file_atomic(path, key.to_pkcs8(), 0600); !written) {
    return refuse(ExitCode::NotPermitted, written.error().text);
  }
  return key;
}

std::optional<RelayMembership> decode(ByteView bytes) {
  const json document = json::parse(as_text(bytes), nullptr, false);
  if (!document.is_object()) return std::nullopt;
  RelayMembership membership;
  const auto text = [&](const char* name) {
    const auto found = document.find(name);
    return found != document.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  membership.network = text("network");
  membership.name = text("relay");
  const auto key = from_base64url(text("seal_key"));
  if (membership.network.empty() || membership.name.empty() || !key || key->size() != membership.seal_key.size()) {
    return std::nullopt;
  }
  std::ranges::copy(*key, membership.seal_key.begin());
  return membership;
}

}  // namespace

std::expected<RelayState, ServerError> RelayState::open(const std::filesystem::path& folder, RandomSource& random) {
  if (auto made = runtime::make_directories(folder.string(), 0700); !made) {
    return refuse(ExitCode::NotPermitted, made.error().text);
  }
  auto lock = runtime::LockFile::acquire((folder / kLockFile).string());
  if (!lock) {
    const bool in_use = lock.error().kind == runtime::FileErrorKind::InUse;
    return refuse(in_use ? ExitCode::AlreadyRunning : ExitCode::NotPermitted, lock.error().text);
  }
  auto key = load_key((folder / kKeyFile).string(), random);
  if (!key) return std::unexpected(key.error());
  RelayState state(folder, std::move(*lock), std::move(*key));
  const std::string path = (folder / kMembershipFile).string();
  const auto bytes = runtime::read_secret_file(path, kFileMax);
  if (!bytes && bytes.error().kind == runtime::FileErrorKind::NotFound) return state;
  if (!bytes) return refuse(ExitCode::NotPermitted, bytes.error().text);
  state.membership_ = decode(*bytes);
  if (!state.membership_) {
    return refuse(ExitCode::StateUnusable, path + " is damaged; delete it, the controller tells its content again");
  }
  return state;
}

std::expected<void, std::string> RelayState::store(const RelayMembership& membership) {
  if (membership_ == membership) return {};
  membership_ = membership;
  const std::string text =
      json{{"network", membership.network}, {"relay", membership.name}, {"seal_key", to_base64url(membership.seal_key)}}
          .dump() +
      '\n';
  auto written = runtime::write_file_atomic((folder_ / kMembershipFile).string(), as_bytes(text), 0600);
  if (!written) return std::unexpected(written.error().text);
  return {};
}

void RelayState::forget() {
  membership_.reset();
  std::error_code ignored;
  std::filesystem::remove(folder_ / kMembershipFile, ignored);
}

}  // namespace postern::server
