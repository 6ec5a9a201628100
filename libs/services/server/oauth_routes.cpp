// The device's side of a sign-in (RFC 8628, PROTOCOL.md §7), and its sign-out.
#include <nlohmann/json.hpp>

#include "runtime/loop/event_loop.hpp"
#include "services/server/form.hpp"
#include "services/server/web_context.hpp"

namespace postern::server {
namespace {

using nlohmann::json;
using runtime::HttpRequest;
using runtime::HttpResponse;
using runtime::HttpServer;
using runtime::monotonic_now;

constexpr std::string_view kClientId = "postern";
constexpr std::string_view kDeviceGrantType = "urn:ietf:params:oauth:grant-type:device_code";
constexpr std::size_t kDeviceNameMax = 128;
constexpr std::chrono::seconds kNonceLife{60};

HttpResponse json_response(int status, const json& body) {
  return {.status = status,
          .body = body.dump(-1, ' ', false, json::error_handler_t::replace),
          .headers = {{"Content-Type", "application/json"}}};
}

HttpResponse oauth_error(int status, std::string_view code, std::string_view description) {
  return json_response(status, {{"error", code}, {"error_description", description}});
}

/// Printable, on one line, at most 128 bytes.
bool is_device_name(std::string_view name) {
  return !name.empty() && name.size() <= kDeviceNameMax &&
         std::ranges::none_of(name, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

/// Good for a minute and proven by its MAC, so that nothing has to be remembered.
class Nonces {
 public:
  explicit Nonces(RandomSource& random) : random_(random), key_(random.make<Digest>()) {}

  std::string make(Instant now) {
    Bytes bytes(8 + 16 + 32);
    ByteWriter writer{MutableBytes(bytes)};
    writer.u64(to_nanoseconds(now + kNonceLife));
    writer.view(random_.make<std::array<std::uint8_t, 16>>());
    writer.view(identity::hmac_sha256(key_, ByteView(bytes).first(24)));
    return to_base64url(bytes);
  }

  bool check(std::string_view text, Instant now) const {
    const auto bytes = from_base64url(text);
    if (!bytes || bytes->size() != 56) return false;
    const Digest mac = identity::hmac_sha256(key_, ByteView(*bytes).first(24));
    return equal_constant_time(mac, ByteView(*bytes).last(32)) && to_nanoseconds(now) < ByteReader(*bytes).u64();
  }

 private:
  RandomSource& random_;
  Digest key_;
};

class OauthRoutes {
 public:
  explicit OauthRoutes(WebContext& context) : context_(context), nonces_(context.random) {}

  HttpResponse start(const HttpRequest& request) {
    const auto form = Form::parse(request.body);
    if (!form || form->get("client_id") != kClientId)
      return oauth_error(400, "invalid_client", "client_id is not postern");
    if (const auto wait = context_.enquiries.try_take(address_key(request.remote), monotonic_now())) return slow(*wait);
    const std::string& name = form->get("device_name");
    if (!is_device_name(name)) {
      return oauth_error(400, "invalid_request", "device_name is missing, longer than 128 bytes or not printable");
    }
    const auto key = proven_key(*form, "postern-device-v1", name);
    if (!key) return oauth_error(400, "invalid_request", "device_key and signature do not prove a P-256 key");
    const auto started = context_.grants.start(key->spki(), name, request.remote, address_key(request.remote),
                                               monotonic_now(), context_.random);
    if (!started) return slow(kGrantInterval * 5);
    return json_response(200, {{"device_code", started->device_code},
                               {"user_code", started->user_code},
                               {"verification_uri", context_.url + "/device"},
                               {"verification_uri_complete", context_.url + "/device?user_code=" + started->user_code},
                               {"expires_in", kGrantLife.count()},
                               {"interval", kGrantInterval.count()}});
  }

  HttpResponse poll(const HttpRequest& request) {
    const auto form = Form::parse(request.body);
    if (!form || form->get("client_id") != kClientId)
      return oauth_error(400, "invalid_client", "client_id is not postern");
    if (form->get("grant_type") != kDeviceGrantType) {
      return oauth_error(400, "unsupported_grant_type", "only the device grant of RFC 8628 is known here");
    }
    const DeviceGrant* grant = nullptr;
    switch (context_.grants.poll(form->get("device_code"), monotonic_now(), grant)) {
      case PollOutcome::Pending:
        return oauth_error(400, "authorization_pending", "the person has not signed in yet");
      case PollOutcome::SlowDown:
        return oauth_error(400, "slow_down", "ask less often");
      case PollOutcome::Denied:
        return oauth_error(400, "access_denied", "the person refused this device");
      case PollOutcome::Expired:
        return oauth_error(400, "expired_token", "the code is not known, or no longer");
      case PollOutcome::Approved:
        break;
    }
    return json_response(200, {{"device_id", std::to_string(grant->device_id)},
                               {"account", grant->account},
                               {"network", context_.host.controller().network().slug}});
  }

  HttpResponse nonce(const HttpRequest&) { return json_response(200, {{"nonce", nonces_.make(monotonic_now())}}); }

  HttpResponse revoke(const HttpRequest& request) {
    const auto form = Form::parse(request.body);
    if (!form || !nonces_.check(form->get("nonce"), monotonic_now())) {
      return oauth_error(400, "invalid_request", "the nonce is not known, or older than a minute");
    }
    const auto key = signed_key(*form, "postern-logout-v1" + form->get("nonce"));
    if (!key) return oauth_error(400, "invalid_request", "device_key and signature do not prove a P-256 key");
    for (const controller::DeviceRecord& device : context_.host.controller().devices()) {
      if (device.public_key != key->spki()) continue;
      const std::string id = std::to_string(device.id.value);
      const auto removed =
          context_.host.execute(controller::DeleteDevice{id}, "device:" + id, address_key(request.remote));
      if (!removed) return oauth_error(500, "server_error", removed.error().message);
      context_.log.info("A device signed out", {{"device", id}});
      break;
    }
    return json_response(200, json::object());  // RFC 7009: also when there was nothing to revoke
  }

 private:
  static HttpResponse slow(Duration wait) {
    HttpResponse response = oauth_error(429, "slow_down", "too many requests");
    response.headers.emplace_back("Retry-After", std::to_string(std::chrono::ceil<std::chrono::seconds>(wait).count()));
    return response;
  }

  /// The key of the form, if its signature over `message` is right.
  static std::optional<identity::PublicKey> signed_key(const Form& form, std::string_view message) {
    const auto der = from_base64url(form.get("device_key"));
    const auto signature = from_base64url(form.get("signature"));
    if (!der || !signature) return std::nullopt;
    auto key = identity::PublicKey::from_spki(*der);
    if (!key || !key->verify(as_bytes(message), *signature)) return std::nullopt;
    return std::move(*key);
  }

  static std::optional<identity::PublicKey> proven_key(const Form& form, std::string_view prefix,
                                                       std::string_view name) {
    const auto der = from_base64url(form.get("device_key"));
    if (!der) return std::nullopt;
    return signed_key(form, std::string(prefix) + std::string(as_text(*der)) + std::string(name));
  }

  WebContext& context_;
  Nonces nonces_;
};

}  // namespace

void add_oauth_routes(HttpServer& server, WebContext& context) {
  const auto routes = std::make_shared<OauthRoutes>(context);
  using Method = HttpResponse (OauthRoutes::*)(const HttpRequest&);
  const auto add = [&](const char* method, const char* path, Method handle) {
    server.route(method, path, [routes, handle](const HttpRequest& request, const HttpServer::Responder& answer) {
      answer((*routes.*handle)(request));
    });
  };
  add("POST", "/oauth/device_authorization", &OauthRoutes::start);
  add("POST", "/oauth/token", &OauthRoutes::poll);
  add("GET", "/oauth/nonce", &OauthRoutes::nonce);
  add("POST", "/oauth/revoke", &OauthRoutes::revoke);
}

}  // namespace postern::server
