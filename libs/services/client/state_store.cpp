#include "services/client/state_store.hpp"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "runtime/os/files.hpp"
#include "services/client/json_fields.hpp"

namespace postern::client {

namespace {

constexpr std::size_t kSmallMax = 64 * 1024;
constexpr std::size_t kNamesMax = 16 * 1024 * 1024;

Problem unusable(const std::string& text) {
  return {config::ExitCode::StateUnusable, text};
}

Problem problem_of(const runtime::FileError& error) {
  const bool denied = error.kind == runtime::FileErrorKind::NoPermission;
  return {denied ? config::ExitCode::NotPermitted : config::ExitCode::StateUnusable, error.text};
}

}  // namespace

std::expected<void, Problem> StateStore::prepare() const {
  const auto made = runtime::make_directories(directory_, 0700);
  if (!made) return std::unexpected(problem_of(made.error()));
  return {};
}

std::expected<std::optional<SignIn>, Problem> StateStore::load_sign_in() const {
  const auto text = runtime::read_text_file(path("sign-in.json"), kSmallMax);
  if (!text && text.error().kind == runtime::FileErrorKind::NotFound) return std::optional<SignIn>{};
  if (!text) return std::unexpected(problem_of(text.error()));
  const auto json = nlohmann::json::parse(*text, nullptr, false);
  SignIn sign_in;
  sign_in.server.host = text_field(json, "host");
  const std::int64_t port = number_field(json, "port");
  if (number_field(json, "version") != 1 || sign_in.server.host.empty() || port < 1 || port > 65'535) {
    return std::unexpected(unusable(path("sign-in.json") +
                                    " is damaged or of a newer version: sign in again with `postern "
                                    "login` after removing it"));
  }
  sign_in.server.port = static_cast<std::uint16_t>(port);
  const std::string pin = text_field(json, "root_pin");
  if (const auto digest = from_base64url(pin); digest && digest->size() == sizeof(Digest)) {
    std::ranges::copy(*digest, sign_in.trust.root_pin.emplace().begin());
  }
  if (const auto addresses = json.find("addresses"); addresses != json.end() && addresses->is_array()) {
    for (const auto& address : *addresses) {
      if (address.is_string()) sign_in.server.fixed_addresses.push_back(address.get<std::string>());
    }
  }
  sign_in.network = text_field(json, "network");
  sign_in.account = text_field(json, "account");
  sign_in.device_id = text_field(json, "device_id");
  sign_in.paused = flag_field(json, "paused");
  return sign_in;
}

std::expected<void, Problem> StateStore::save_sign_in(const SignIn& sign_in) const {
  const nlohmann::json json = {{"version", 1},
                               {"host", sign_in.server.host},
                               {"port", sign_in.server.port},
                               {"addresses", sign_in.server.fixed_addresses},
                               {"root_pin", sign_in.trust.root_pin ? to_base64url(*sign_in.trust.root_pin) : ""},
                               {"network", sign_in.network},
                               {"account", sign_in.account},
                               {"device_id", sign_in.device_id},
                               {"paused", sign_in.paused}};
  const auto written = runtime::write_file_atomic(path("sign-in.json"), as_bytes(json.dump(2)), 0600);
  if (!written) return std::unexpected(problem_of(written.error()));
  return {};
}

std::expected<std::optional<identity::PrivateKey>, Problem> StateStore::load_key() const {
  const auto pem = runtime::read_secret_file(path("device.key"), kSmallMax);
  if (!pem && pem.error().kind == runtime::FileErrorKind::NotFound) return std::optional<identity::PrivateKey>{};
  if (!pem) return std::unexpected(problem_of(pem.error()));
  auto key = identity::PrivateKey::from_pem(as_text(*pem));
  if (!key) {
    return std::unexpected(unusable(path("device.key") + " is no P-256 key: remove it and sign in again"));
  }
  return std::move(*key);
}

std::expected<void, Problem> StateStore::save_key(const identity::PrivateKey& key) const {
  const auto written = runtime::write_file_atomic(path("device.key"), as_bytes(key.to_pem()), 0600);
  if (!written) return std::unexpected(problem_of(written.error()));
  return {};
}

void StateStore::forget_sign_in() const {
  ::unlink(path("sign-in.json").c_str());
  ::unlink(path("device.key").c_str());
}

std::optional<SavedNames> StateStore::load_names(Instant now, WallTime wall) const {
  const auto text = runtime::read_text_file(path("names.json"), kNamesMax);
  if (!text) return std::nullopt;
  const auto json = nlohmann::json::parse(*text, nullptr, false);
  const auto v4 = IpPrefix::parse(text_field(json, "v4"));
  const auto v6 = IpPrefix::parse(text_field(json, "v6"));
  if (!v4 || !v6 || !v4->address().is_v4() || !v6->address().is_v6() || v4->length() > 24) return std::nullopt;
  SavedNames saved{{*v4, *v6}, {}};
  const auto names = json.find("names");
  if (names == json.end() || !names->is_array()) return saved;
  for (const auto& entry : *names) {
    auto name = model::DnsName::parse(text_field(entry, "name"));
    if (!name) continue;
    const auto age = wall - from_unix_ms(number_field(entry, "used_ms"));
    saved.names.push_back({std::move(*name), static_cast<std::uint32_t>(number_field(entry, "number")),
                           now - std::chrono::duration_cast<Duration>(age)});
  }
  return saved;
}

void StateStore::save_names(Instant now, WallTime wall, const SavedNames& names) const {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& entry : names.names) {
    const auto used = wall - std::chrono::duration_cast<std::chrono::milliseconds>(now - entry.used);
    list.push_back({{"name", entry.name.text()}, {"number", entry.number}, {"used_ms", to_unix_ms(used)}});
  }
  const nlohmann::json json = {
      {"v4", names.network.v4.to_string()}, {"v6", names.network.v6.to_string()}, {"names", list}};
  // Losing it costs little (addresses are derived from names first), so a failure is nobody's business.
  (void)runtime::write_file_atomic(path("names.json"), as_bytes(json.dump()), 0600);
}

}  // namespace postern::client
