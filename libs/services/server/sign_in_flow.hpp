// One sign-in at the pages: password, then the second factor where one is enrolled, or a passkey alone. The states and
// limits are those of signin::SignIns; here are the forms, the password threads and the store.
//
// An unknown e-mail, a disabled account, one without a password and a wrong password give the same answer after the
// same work. Whether a second factor is enrolled shows only behind the right password.
#pragma once

#include <expected>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "services/server/account_pages.hpp"
#include "services/server/form.hpp"
#include "services/server/web_context.hpp"

namespace postern::server {

inline constexpr std::chrono::seconds kBusyRetry{5};

/// Where a sign-in leads, and how its first page looks.
struct SignInTarget {
  std::string purpose{};  ///< what the proofs are good for, and nothing else: "account", "device:BCDF-GHJK"
  std::string action{};   ///< the path that the forms go to
  HiddenFields fields{};  ///< what the forms carry besides the guard
  /// The page that asks for e-mail and password.
  std::function<runtime::HttpResponse(const runtime::HttpRequest&, int status, const std::string& email,
                                      std::string_view problem)>
      ask{};
  /// Called once everything is proven.
  std::function<runtime::HttpResponse(const runtime::HttpRequest&, const controller::UserRecord&)> done{};
};

class SignInFlow {
 public:
  explicit SignInFlow(WebContext& context) : context_(context) {}

  /// A form that passed the check of its guard.
  void submit(const runtime::HttpRequest& request, const Form& form, const SignInTarget& target,
              const runtime::HttpServer::Responder& answer);
  /// The form with which a passkey alone signs in here; empty where there are no passkeys.
  [[nodiscard]] std::string passkey_button(const FormGuard& guard, const SignInTarget& target);

 private:
  void password(const runtime::HttpRequest& request, const Form& form, const SignInTarget& target,
                const runtime::HttpServer::Responder& answer);
  runtime::HttpResponse after_password(const runtime::HttpRequest& request, const std::string& email, bool right,
                                       const SignInTarget& target);
  runtime::HttpResponse second(const runtime::HttpRequest& request, const Form& form, const SignInTarget& target);
  runtime::HttpResponse second_page(const runtime::HttpRequest& request, int status, const std::string& ticket,
                                    model::UserId user, const SignInTarget& target, std::string_view problem);
  runtime::HttpResponse passkey_alone(const runtime::HttpRequest& request, const Form& form,
                                      const SignInTarget& target);
  /// Why not, in a sentence; the code is used up.
  [[nodiscard]] std::optional<std::string> prove_code(const runtime::HttpRequest& request, model::UserId user,
                                                      std::string_view code);
  struct PasskeyWanted {
    std::string purpose{};  ///< of the challenge
    signin::UserCheck check{};
    std::optional<model::UserId> user{};  ///< nothing: whoever has it
  };
  [[nodiscard]] std::expected<model::UserId, std::string> prove_passkey(std::string_view text,
                                                                        const PasskeyWanted& wanted);
  [[nodiscard]] std::optional<controller::UserRecord> active_user(model::UserId id) const;

  WebContext& context_;
};

}  // namespace postern::server
