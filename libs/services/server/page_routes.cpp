// The plain pages, health, and the keys with which tokens are verified.
#include <nlohmann/json.hpp>

#include "services/server/account_pages.hpp"
#include "services/server/pages.hpp"
#include "services/server/web_context.hpp"

namespace postern::server {
namespace {

using runtime::HttpRequest;
using runtime::HttpResponse;
using runtime::HttpServer;

/// The public keys as RFC 7517 wants them. The point of a P-256 key is the last 64 bytes of its DER.
std::string key_set_json(const identity::KeySet& keys) {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [kid, key] : keys) {
    const ByteView point = ByteView(key.spki()).last(64);
    list.push_back({{"kty", "EC"},
                    {"crv", "P-256"},
                    {"alg", "ES256"},
                    {"use", "sig"},
                    {"kid", kid},
                    {"x", to_base64url(point.first(32))},
                    {"y", to_base64url(point.last(32))}});
  }
  return nlohmann::json{{"keys", list}}.dump();
}

}  // namespace

HttpResponse with_cookie(HttpResponse response, const std::string& cookie) {
  if (!cookie.empty()) response.headers.emplace_back("Set-Cookie", cookie);
  return response;
}

HttpResponse too_many(Duration wait, std::string_view what) {
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(wait).count();
  HttpResponse response = message_page(429, "Too many attempts",
                                       std::string(what) + " Try again in " + std::to_string(seconds) + " seconds.");
  response.headers.emplace_back("Retry-After", std::to_string(seconds));
  return response;
}

void add_page_routes(HttpServer& server, WebContext& context) {
  server.route("GET", "/", [&context](const HttpRequest&, const HttpServer::Responder& answer) {
    answer(page(200, context.network_name, index_body(context.network_name, context.url)));
  });
  server.route("GET", "/style.css", [](const HttpRequest&, const HttpServer::Responder& answer) {
    answer({.status = 200,
            .body = std::string(style_sheet()),
            .headers = {{"Content-Type", "text/css; charset=utf-8"}, {"Cache-Control", "max-age=3600"}}});
  });
  server.route("GET", "/passkey.js", [](const HttpRequest&, const HttpServer::Responder& answer) {
    answer({.status = 200,
            .body = std::string(passkey_script()),
            .headers = {{"Content-Type", "text/javascript; charset=utf-8"}, {"Cache-Control", "max-age=3600"}}});
  });
  const auto healthy = [](const HttpRequest&, const HttpServer::Responder& answer) {
    answer({.status = 200, .body = "OK\n"});
  };
  server.route("GET", "/healthz", healthy);
  server.route("GET", "/readyz", [&context](const HttpRequest&, const HttpServer::Responder& answer) {
    const bool reads = context.host.store().networks().has_value();
    answer({.status = reads ? 200 : 503, .body = reads ? "OK\n" : "the database cannot be read\n"});
  });
  server.route("GET", "/api/v1/jwk/ec", [&context](const HttpRequest&, const HttpServer::Responder& answer) {
    answer({.status = 200,
            .body = key_set_json(context.host.controller().verification_keys()),
            .headers = {{"Content-Type", "application/json"}, {"Cache-Control", "max-age=300"}}});
  });
}

}  // namespace postern::server
