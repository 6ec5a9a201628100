// The few pages of the server, rendered here until the console comes: one style sheet, everything escaped, and a script
// only where a passkey may be used, which browsers have no form for.
#pragma once

#include <string>
#include <string_view>

#include "base/time.hpp"
#include "runtime/http/http_message.hpp"
#include "services/server/device_grants.hpp"

namespace postern::server {

enum class PageScript : std::uint8_t { None, Passkey };

/// A whole page. `body` is HTML already.
[[nodiscard]] runtime::HttpResponse page(int status, std::string_view title, std::string_view body,
                                         PageScript script = PageScript::None);
/// A title and one sentence of plain text.
[[nodiscard]] runtime::HttpResponse message_page(int status, std::string_view title, std::string_view sentence);

[[nodiscard]] std::string_view style_sheet();

/// What stands in every form against requests that another site made.
struct FormGuard {
  std::string token{};
};

/// Pieces of pages: what went wrong, an `<input type="hidden">`.
[[nodiscard]] std::string problem_line(std::string_view problem);
[[nodiscard]] std::string hidden_field(std::string_view name, std::string_view value);

[[nodiscard]] std::string index_body(std::string_view network_name, std::string_view url);
/// Asks for the code that the device shows.
[[nodiscard]] std::string code_form(const FormGuard& guard, std::string_view problem);
/// Shows the device, and asks for e-mail and password. `passkey_form` stands below, it may be empty.
[[nodiscard]] std::string device_form(const FormGuard& guard, const DeviceGrant& grant, Instant now,
                                      std::string_view email, std::string_view problem, std::string_view passkey_form);
/// Asks for a new password, twice.
[[nodiscard]] std::string setup_form(const FormGuard& guard, std::string_view token, std::string_view email,
                                     std::string_view problem);

}  // namespace postern::server
