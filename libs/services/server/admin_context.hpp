// What the admin socket works on.
#pragma once

#include <string>

#include "base/random.hpp"
#include "identity/tokens.hpp"
#include "services/server/controller_host.hpp"
#include "services/server/factor_store.hpp"
#include "services/server/password_pool.hpp"
#include "services/server/relay_thread.hpp"
#include "services/server/setup_links.hpp"
#include "signin/sessions.hpp"

namespace postern::server {

struct AdminContext {
  ControllerHost& host;
  PasswordPool& passwords;
  SetupLinks& setup_links;
  FactorStore& factors;
  signin::Sessions& sessions;
  RelayThread* relay;  ///< nothing without the role
  RandomSource& random;
  identity::SealKey master{};
  std::string url{};
  std::string enrolment_url{};
  std::string ca_digest{};  ///< empty with a public certificate
  std::string ca_pem{};
  std::string listen{};
  WallTime started_at{};
};

}  // namespace postern::server
