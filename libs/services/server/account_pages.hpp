// The pages on which people sign in, and manage how they sign in.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "controller_core/records.hpp"
#include "services/server/pages.hpp"
#include "signin/factors.hpp"
#include "signin/webauthn.hpp"

namespace postern::server {

/// Runs on pages with passkey forms, and on no others: fills in what only a script can ask the browser for.
[[nodiscard]] std::string_view passkey_script();

using HiddenFields = std::vector<std::pair<std::string, std::string>>;

/// What navigator.credentials is asked, as JSON.
[[nodiscard]] std::string passkey_sign_in_options(const signin::RelyingParty& party, const Digest& challenge);
[[nodiscard]] std::string passkey_second_options(const signin::RelyingParty& party, const Digest& challenge,
                                                 const signin::Factors& factors);
[[nodiscard]] std::string passkey_creation_options(const signin::RelyingParty& party, const Digest& challenge,
                                                   std::string_view network_name, const controller::UserRecord& user,
                                                   const signin::Factors& factors);
/// Says nothing of who it is: the user's number.
[[nodiscard]] Bytes user_handle(model::UserId user);

/// A form that is sent once the browser has answered `options`. `fields` has its guard.
[[nodiscard]] std::string passkey_form(std::string_view action, const HiddenFields& fields, std::string_view options,
                                       std::string_view label);

/// Asks for e-mail and password, for the account's page. `passkey` may be empty.
[[nodiscard]] std::string sign_in_body(const FormGuard& guard, std::string_view email, std::string_view problem,
                                       std::string_view passkey);
/// Asks for the second factor. `fields` say which sign-in it is; `passkey` may be empty.
[[nodiscard]] std::string second_factor_body(std::string_view action, const HiddenFields& fields,
                                             const signin::Factors& factors, std::string_view problem,
                                             std::string_view passkey);

struct AccountView {
  const controller::UserRecord& user;
  const signin::Factors& factors;
  std::string passkey_options{};  ///< empty where there are no passkeys
  std::string problem{};
};
[[nodiscard]] std::string account_body(const FormGuard& guard, const AccountView& view);
/// The QR code and the secret of an authenticator app, until its first code is typed.
[[nodiscard]] std::string app_body(const FormGuard& guard, ByteView secret, std::string_view issuer,
                                   std::string_view account, std::string_view problem);
[[nodiscard]] std::string recovery_codes_body(const std::vector<std::string>& codes, std::string_view sentence);

}  // namespace postern::server
