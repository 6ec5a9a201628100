// What the routes of the server share; everything in it lives on the controller's thread.
#pragma once

#include <functional>
#include <string>

#include "base/random.hpp"
#include "runtime/http/http_server.hpp"
#include "runtime/os/log.hpp"
#include "services/server/controller_host.hpp"
#include "services/server/csrf.hpp"
#include "services/server/device_grants.hpp"
#include "services/server/factor_store.hpp"
#include "services/server/password_pool.hpp"
#include "services/server/setup_links.hpp"
#include "signin/rate_limit.hpp"
#include "signin/sessions.hpp"
#include "signin/sign_ins.hpp"
#include "signin/webauthn.hpp"

namespace postern::server {

using signin::address_key;

struct WebContext {
  ControllerHost& host;
  PasswordPool& passwords;
  RandomSource& random;
  runtime::Logger& log;
  std::string url;  ///< of this server, without a slash at its end
  std::string network_name;
  SetupLinks& setup_links;
  FactorStore& factors;
  signin::Sessions& sessions;
  Csrf csrf{random};
  DeviceGrants grants{};
  signin::SignIns sign_ins{random};
  signin::Challenges challenges{random};
  /// Nothing where the server is reached by an IP address: browsers have no passkeys there.
  std::optional<signin::RelyingParty> party = signin::RelyingParty::of_url(url);
  /// New device authorisations, look-ups of codes, answers of passkeys.
  signin::RateLimit enquiries{30, std::chrono::minutes(1), 50'000};
};

/// The cookie of a person who is signed in at the pages.
inline constexpr std::string_view kSessionCookie = "__Host-postern-session";

/// Routes are added before the server starts; `context` outlives the server.
void add_page_routes(runtime::HttpServer& server, WebContext& context);     // /, /style.css, /healthz, /readyz, keys
void add_device_routes(runtime::HttpServer& server, WebContext& context);   // /device
void add_oauth_routes(runtime::HttpServer& server, WebContext& context);    // /oauth/…
void add_setup_routes(runtime::HttpServer& server, WebContext& context);    // /setup
void add_account_routes(runtime::HttpServer& server, WebContext& context);  // /sign-in, /sign-out, /account…

/// A page with the form's cookie.
[[nodiscard]] runtime::HttpResponse with_cookie(runtime::HttpResponse response, const std::string& cookie);
[[nodiscard]] runtime::HttpResponse too_many(Duration wait, std::string_view what);

}  // namespace postern::server
