#include "services/server/csrf.hpp"

#include "identity/keys.hpp"

namespace postern::server {
namespace {

/// The prefix makes browsers insist on Secure, Path=/ and no Domain.
constexpr std::string_view kCookie = "__Host-postern-form";
constexpr std::size_t kCookieSize = 43;  // base64url of 32 bytes

std::string_view cookie_of(const runtime::HttpRequest& request) {
  const std::string_view value = find_cookie(runtime::find_header(request.headers, "Cookie"), kCookie);
  return value.size() == kCookieSize ? value : std::string_view();
}

}  // namespace

Csrf::Issued Csrf::issue(const runtime::HttpRequest& request) {
  if (const std::string_view cookie = cookie_of(request); !cookie.empty()) return {.guard = {token_of(cookie)}};
  const std::string cookie = to_base64url(random_.make<Digest>());
  return {.guard = {token_of(cookie)},
          .cookie = std::string(kCookie) + '=' + cookie + "; Path=/; Secure; HttpOnly; SameSite=Strict"};
}

bool Csrf::check(const runtime::HttpRequest& request, const Form& form) const {
  const std::string_view cookie = cookie_of(request);
  return !cookie.empty() && equal_constant_time(as_bytes(token_of(cookie)), as_bytes(form.get("csrf")));
}

std::string Csrf::token_of(std::string_view cookie) const {
  return to_base64url(identity::hmac_sha256(key_, as_bytes(cookie)));
}

}  // namespace postern::server
