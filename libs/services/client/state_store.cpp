#include "services/client/state_store.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "runtime/os/files.hpp"
#include "services/client/json_fields.hpp"

namespace postern::client {

namespace {

/// Of sign-in.json.
constexpr std::int64_t kVersion = 1;
constexpr std::size_t kSmallMax = 64 * 1024;
constexpr std::size_t kNamesMax = 16 * 1024 * 1024;

Problem unusable(const std::string& text) {
  return {config::ExitCode::StateUnusable, text};
}

Problem cannot_write(const runtime::FileError& error) {
  return {
      config::ExitCode::StateUnusable,
      error.text + ": what was there is unchanged; make room in the state folder, or make it writable for posternd"};
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
  const std::int64_t version = number_field(json, "version");
  if (version > kVersion) {
    return std::unexpected(unusable(path("sign-in.json") +
                                    " was written by a newer version of Postern: install that "
                                    "version again, or move the file away and sign in with `postern login`"));
  }
  if (version != kVersion || sign_in.server.host.empty() || port < 1 || port > 65'535) {
    return std::unexpected(
        unusable(path("sign-in.json") + " is damaged: move it away and sign in again with `postern login`"));
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
  const nlohmann::json json = {{"version", kVersion},
                               {"host", sign_in.server.host},
                               {"port", sign_in.server.port},
                               {"addresses", sign_in.server.fixed_addresses},
                               {"root_pin", sign_in.trust.root_pin ? to_base64url(*sign_in.trust.root_pin) : ""},
                               {"network", sign_in.network},
                               {"account", sign_in.account},
                               {"device_id", sign_in.device_id},
                               {"paused", sign_in.paused}};
  const auto written = runtime::write_file_atomic(path("sign-in.json"), as_bytes(json.dump(2)), 0600);
  if (!written) return std::unexpected(cannot_write(written.error()));
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
  if (!written) return std::unexpected(cannot_write(written.error()));
  return {};
}

std::expected<void, Problem> StateStore::save_enrolment(const SignIn& sign_in, const identity::PrivateKey& key) const {
  const std::string file = path("device.key");
  const std::string before = path("device.key.before");
  ::unlink(before.c_str());
  // A second name and no copy: coming back needs no room on the disk.
  const bool had_key = ::link(file.c_str(), before.c_str()) == 0;
  auto saved = save_key(key);
  if (saved) {
    saved = save_sign_in(sign_in);
    if (!saved) {
      if (!had_key || ::rename(before.c_str(), file.c_str()) != 0) ::unlink(file.c_str());
      return saved;
    }
  }
  ::unlink(before.c_str());
  return saved;
}

std::expected<void, Problem> StateStore::check_writable() const {
  const Bytes probe(8192, 'x');
  const auto written = runtime::write_file_atomic(path("probe"), probe, 0600);
  ::unlink(path("probe").c_str());
  if (!written) return std::unexpected(cannot_write(written.error()));
  return {};
}

std::expected<void, Problem> StateStore::forget_sign_in() const {
  for (const char* name : {"sign-in.json", "device.key"}) {
    if (::unlink(path(name).c_str()) == 0 || errno == ENOENT) continue;
    return std::unexpected(Problem{
        config::ExitCode::StateUnusable,
        "cannot remove " + path(name) + ": " + std::strerror(errno) + ": make the state folder writable for posternd"});
  }
  return {};
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
