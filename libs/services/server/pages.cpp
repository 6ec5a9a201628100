#include "services/server/pages.hpp"

#include "services/server/form.hpp"

namespace postern::server {
namespace {

constexpr std::string_view kPolicy =
    "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
constexpr std::string_view kOwnScript = "; script-src 'self'";

constexpr std::string_view kStyle =
    R"(:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #d5dae1;
  --page: #f5f6f8; --card: #fff; --accent: #1f5fbf; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaef; --soft: #9aa5b4; --line: #38414d; --page: #14181e;
  --card: #1d232b; --accent: #7fb0ff; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 26rem; margin: 8vh auto; padding: 2rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .75rem; }
main.wide { max-width: 40rem; }
h1 { margin: 0 0 1rem; font-size: 1.35rem; }
p { margin: .5rem 0 1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: 0 0 1.25rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
label { display: block; margin: 0 0 .9rem; color: var(--soft); }
input { display: block; width: 100%; margin-top: .25rem; padding: .6rem .7rem; color: var(--ink); 
  background: var(--page); border: 1px solid var(--line); border-radius: .4rem; font: inherit; }
input:focus-visible, button:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
button { width: 100%; margin-top: .4rem; padding: .65rem; border: 0; border-radius: .4rem; background: var(--accent);
  color: var(--card); font: inherit; font-weight: 600; cursor: pointer; }
button.quiet { background: none; color: var(--soft); border: 1px solid var(--line); }
code { font-family: ui-monospace, monospace; font-size: .95em; overflow-wrap: anywhere; }
.problem { padding: .6rem .8rem; border-left: 3px solid var(--bad); color: var(--bad); }
h2 { margin: 1.75rem 0 .5rem; font-size: 1.05rem; }
section + section, form + form { margin-top: 1rem; }
.qr { display: block; width: 12rem; max-width: 100%; margin: 0 auto 1rem; border-radius: .4rem; }
.codes { columns: 2; margin: 0 0 1rem; padding: 0; list-style: none; }
.row { display: flex; gap: 1rem; align-items: center; justify-content: space-between; }
.row button { width: auto; margin: 0; padding: .35rem .7rem; }
.soft { color: var(--soft); }
.code { font-size: 1.3rem; letter-spacing: .1em; }
)";

std::string age_text(Duration age) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(age).count();
  if (seconds < 60) return std::to_string(seconds) + (seconds == 1 ? " second ago" : " seconds ago");
  return std::to_string(seconds / 60) + (seconds < 120 ? " minute ago" : " minutes ago");
}

}  // namespace

std::string problem_line(std::string_view problem) {
  return problem.empty() ? "" : "<p class=\"problem\" role=\"alert\">" + escape_html(problem) + "</p>";
}

std::string hidden_field(std::string_view name, std::string_view value) {
  return "<input type=\"hidden\" name=\"" + std::string(name) + "\" value=\"" + escape_html(value) + "\">";
}

std::string_view style_sheet() {
  return kStyle;
}

runtime::HttpResponse page(int status, std::string_view title, std::string_view body, PageScript script) {
  const bool scripted = script == PageScript::Passkey;
  std::string html =
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>";
  html += escape_html(title);
  html += " · Postern</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n";
  if (scripted) html += "<script src=\"/passkey.js\" defer></script>\n";
  html += "</head>\n<body>\n";
  html += body;
  html += "\n</body>\n</html>\n";
  return {.status = status,
          .body = std::move(html),
          .headers = {{"Content-Type", "text/html; charset=utf-8"},
                      {"Content-Security-Policy", std::string(kPolicy) + std::string(scripted ? kOwnScript : "")},
                      {"Cross-Origin-Opener-Policy", "same-origin"}}};
}

runtime::HttpResponse message_page(int status, std::string_view title, std::string_view sentence) {
  return page(status, title, "<main><h1>" + escape_html(title) + "</h1><p>" + escape_html(sentence) + "</p></main>");
}

std::string index_body(std::string_view network_name, std::string_view url) {
  return "<main class=\"wide\"><h1>Postern: " + escape_html(network_name) +
         "</h1><p>This server lets people reach private services of this network, end to end encrypted, without a "
         "VPN.</p>"
         "<p>To sign in on a laptop, install the Postern client there and run</p><p><code>postern login '" +
         escape_html(url) +
         "/#ca=…'</code></p><p>with the enrolment address that your administrator gave you. If you opened that "
         "address here, copy it from the address bar, all of it.</p>"
         "<p>If a program showed you a code, <a href=\"/device\">enter it here</a>. How you sign in is managed in "
         "<a href=\"/account\">your account</a>.</p></main>";
}

std::string code_form(const FormGuard& guard, std::string_view problem) {
  return "<main><h1>Sign in a device</h1>" + problem_line(problem) +
         "<p>Enter the code that your device shows.</p><form method=\"post\" action=\"/device\">" +
         hidden_field("csrf", guard.token) +
         "<label>Code <input class=\"code\" name=\"user_code\" required autofocus autocomplete=\"off\" "
         "autocapitalize=\"characters\" spellcheck=\"false\" maxlength=\"16\" placeholder=\"XXXX-XXXX\"></label>"
         "<button>Continue</button></form></main>";
}

std::string device_form(const FormGuard& guard, const DeviceGrant& grant, Instant now, std::string_view email,
                        std::string_view problem, std::string_view passkey_form) {
  return "<main><h1>Sign in a device</h1>" + problem_line(problem) + "<dl><dt>Device</dt><dd>" +
         escape_html(grant.device_name) + "</dd><dt>Address</dt><dd>" + escape_html(grant.address) +
         "</dd><dt>Asked</dt><dd>" + age_text(now - grant.started) + "</dd><dt>Code</dt><dd>" +
         escape_html(grant.user_code) +
         "</dd></dl><p>Go on only if this is your device and it shows this code.</p>"
         "<form method=\"post\" action=\"/device\">" +
         hidden_field("csrf", guard.token) + hidden_field("user_code", grant.user_code) +
         "<label>E-mail <input type=\"email\" name=\"email\" required autofocus autocomplete=\"username\" value=\"" +
         escape_html(email) +
         "\"></label><label>Password <input type=\"password\" name=\"password\" required "
         "autocomplete=\"current-password\"></label><button name=\"answer\" value=\"allow\">Sign in</button>"
         "<button class=\"quiet\" name=\"answer\" value=\"deny\" formnovalidate>This is not mine</button></form>" +
         std::string(passkey_form) + "</main>";
}

std::string setup_form(const FormGuard& guard, std::string_view token, std::string_view email,
                       std::string_view problem) {
  return "<main><h1>Choose a password</h1>" + problem_line(problem) + "<p>For <strong>" + escape_html(email) +
         "</strong>, at least 8 characters.</p><form method=\"post\" action=\"/setup\">" +
         hidden_field("csrf", guard.token) + hidden_field("token", token) +
         "<label>Password <input type=\"password\" name=\"password\" required minlength=\"8\" autofocus "
         "autocomplete=\"new-password\"></label><label>Again <input type=\"password\" name=\"again\" required "
         "minlength=\"8\" autocomplete=\"new-password\"></label><button>Set password</button></form></main>";
}

}  // namespace postern::server
