// The few pages of the server, rendered here until the console comes: no script, one style sheet, everything escaped.
#pragma once

#include <string>
#include <string_view>

#include "base/time.hpp"
#include "runtime/http/http_message.hpp"
#include "services/server/device_grants.hpp"

namespace postern::server {

/// A whole page. `body` is HTML already.
[[nodiscard]] runtime::HttpResponse page(int status, std::string_view title, std::string_view body);
/// A title and one sentence of plain text.
[[nodiscard]] runtime::HttpResponse message_page(int status, std::string_view title, std::string_view sentence);

[[nodiscard]] std::string_view style_sheet();

/// What stands in every form against requests that another site made.
struct FormGuard {
  std::string token{};
};

[[nodiscard]] std::string index_body(std::string_view network_name, std::string_view url);
/// Asks for the code that the device shows.
[[nodiscard]] std::string code_form(const FormGuard& guard, std::string_view problem);
/// Shows the device, and asks for e-mail and password.
[[nodiscard]] std::string sign_in_form(const FormGuard& guard, const DeviceGrant& grant, Instant now,
                                       std::string_view email, std::string_view problem);
/// Asks for a new password, twice.
[[nodiscard]] std::string setup_form(const FormGuard& guard, std::string_view token, std::string_view email,
                                     std::string_view problem);

}  // namespace postern::server
