#include "services/server/account_pages.hpp"

#include <nlohmann/json.hpp>

#include "services/server/form.hpp"
#include "signin/qr_code.hpp"

namespace postern::server {
namespace {

using nlohmann::json;

constexpr int kPasskeyTimeoutMs = 240'000;  // within the life of a challenge

constexpr std::string_view kScript = R"JS("use strict";
const fromText = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const toText = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer || [])))
    .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

function revived(options) {
  options.challenge = fromText(options.challenge);
  if (options.user) options.user.id = fromText(options.user.id);
  for (const list of [options.allowCredentials, options.excludeCredentials]) {
    for (const each of list || []) each.id = fromText(each.id);
  }
  return options;
}

const ask = {
  async get(publicKey) {
    const found = await navigator.credentials.get({ publicKey });
    return {
      id: toText(found.rawId),
      clientData: toText(found.response.clientDataJSON),
      authenticatorData: toText(found.response.authenticatorData),
      signature: toText(found.response.signature),
      userHandle: toText(found.response.userHandle),
    };
  },
  async create(publicKey) {
    const made = await navigator.credentials.create({ publicKey });
    return {
      clientData: toText(made.response.clientDataJSON),
      attestation: toText(made.response.attestationObject),
    };
  },
};

for (const form of document.querySelectorAll("form[data-passkey]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const problem = form.querySelector("[data-problem]");
    problem.hidden = true;
    try {
      if (!window.PublicKeyCredential) throw new Error("This browser has no passkeys.");
      const options = revived(JSON.parse(form.dataset.options));
      const answer = await ask[options.user ? "create" : "get"](options);
      form.elements.namedItem("passkey").value = JSON.stringify(answer);
      form.submit();
    } catch (error) {
      problem.textContent = "The passkey was not used: " + error.message;
      problem.hidden = false;
    }
  });
}
)JS";

json described(const signin::Factors& factors) {
  json list = json::array();
  for (const signin::Passkey& each : factors.passkeys) {
    list.push_back({{"type", "public-key"}, {"id", to_base64url(each.id)}});
  }
  return list;
}

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string hidden_fields(const HiddenFields& fields) {
  std::string html;
  for (const auto& [name, value] : fields) html += hidden_field(name, value);
  return html;
}

std::string guarded_form(std::string_view action, const FormGuard& guard, std::string_view content) {
  return "<form method=\"post\" action=\"" + std::string(action) + "\">" + hidden_field("csrf", guard.token) +
         std::string(content) + "</form>";
}

std::string in_fours(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size(); at += 4) {
    result += (at == 0 ? "" : " ") + std::string(text.substr(at, 4));
  }
  return result;
}

std::string day_of(WallTime time) {
  const std::chrono::year_month_day day(std::chrono::floor<std::chrono::days>(time));
  const auto two = [](unsigned number) { return (number < 10 ? "0" : "") + std::to_string(number); };
  return std::to_string(static_cast<int>(day.year())) + '-' + two(static_cast<unsigned>(day.month())) + '-' +
         two(static_cast<unsigned>(day.day()));
}

std::string app_section(const FormGuard& guard, const signin::Factors& factors) {
  if (!factors.totp) {
    return "<h2>Authenticator app</h2><p>Not set up. With it, a password alone does not let anybody in.</p>"
           "<p><a href=\"/account/app\">Set up an authenticator app</a></p>";
  }
  return "<h2>Authenticator app</h2><p>Set up: signing in asks for its code.</p>" +
         guarded_form("/account/app/remove", guard, "<button class=\"quiet\">Remove the app</button>");
}

std::string recovery_section(const FormGuard& guard, const signin::Factors& factors) {
  if (!factors.has_second()) return {};
  const std::size_t left = factors.recovery_codes.size();
  return "<h2>Recovery codes</h2><p>" + std::to_string(left) + (left == 1 ? " is" : " are") +
         " left. Each lets you in once when app and passkeys are out of reach.</p>" +
         guarded_form("/account/codes", guard, "<button class=\"quiet\">Make ten new codes</button>");
}

std::string passkey_section(const FormGuard& guard, const AccountView& view) {
  std::string html = "<h2>Passkeys</h2>";
  for (const signin::Passkey& each : view.factors.passkeys) {
    const std::string used = each.used_at ? ", last used " + day_of(*each.used_at) : "";
    html += guarded_form("/account/passkeys/remove", guard,
                         hidden_field("id", to_base64url(each.id)) + "<div class=\"row\"><span>" +
                             escape_html(each.name) + " <span class=\"soft\">added " + day_of(each.added_at) + used +
                             "</span></span><button class=\"quiet\">Remove</button></div>");
  }
  if (view.passkey_options.empty()) {
    return html + "<p>This server is reached by an IP address, and browsers have passkeys for domain names only.</p>";
  }
  return html +
         "<p>A passkey signs you in without the password: with this device's fingerprint, face or PIN, or with a "
         "security key.</p>" +
         passkey_form("/account/passkeys", {{"csrf", guard.token}}, view.passkey_options, "Add a passkey");
}

std::string password_section(const FormGuard& guard) {
  return "<h2>Password</h2>" +
         guarded_form("/account/password", guard,
                      "<label>Password now <input type=\"password\" name=\"password\" required "
                      "autocomplete=\"current-password\"></label>"
                      "<label>New password <input type=\"password\" name=\"new\" required minlength=\"8\" "
                      "autocomplete=\"new-password\"></label>"
                      "<label>Again <input type=\"password\" name=\"again\" required minlength=\"8\" "
                      "autocomplete=\"new-password\"></label><button class=\"quiet\">Change the password</button>");
}

}  // namespace

std::string_view passkey_script() {
  return kScript;
}

std::string passkey_sign_in_options(const signin::RelyingParty& party, const Digest& challenge) {
  return dump({{"challenge", to_base64url(challenge)},
               {"rpId", party.id},
               {"userVerification", "required"},
               {"timeout", kPasskeyTimeoutMs}});
}

std::string passkey_second_options(const signin::RelyingParty& party, const Digest& challenge,
                                   const signin::Factors& factors) {
  return dump({{"challenge", to_base64url(challenge)},
               {"rpId", party.id},
               {"userVerification", "preferred"},
               {"allowCredentials", described(factors)},
               {"timeout", kPasskeyTimeoutMs}});
}

std::string passkey_creation_options(const signin::RelyingParty& party, const Digest& challenge,
                                     std::string_view network_name, const controller::UserRecord& user,
                                     const signin::Factors& factors) {
  json algorithms = json::array();
  for (const int each : {-8, -7, -257}) algorithms.push_back({{"type", "public-key"}, {"alg", each}});
  return dump(
      {{"challenge", to_base64url(challenge)},
       {"rp", {{"id", party.id}, {"name", "Postern " + std::string(network_name)}}},
       {"user", {{"id", to_base64url(user_handle(user.id))}, {"name", user.email}, {"displayName", user.email}}},
       {"pubKeyCredParams", std::move(algorithms)},
       {"excludeCredentials", described(factors)},
       {"authenticatorSelection",
        {{"residentKey", "required"}, {"requireResidentKey", true}, {"userVerification", "required"}}},
       {"attestation", "none"},
       {"timeout", kPasskeyTimeoutMs}});
}

Bytes user_handle(model::UserId user) {
  Bytes handle(8);
  ByteWriter writer{MutableBytes(handle)};
  writer.u64(user.value);
  return handle;
}

std::string passkey_form(std::string_view action, const HiddenFields& fields, std::string_view options,
                         std::string_view label) {
  return "<form method=\"post\" action=\"" + std::string(action) + "\" data-passkey data-options=\"" +
         escape_html(options) + "\">" + hidden_fields(fields) + hidden_field("passkey", "") +
         "<p class=\"problem\" role=\"alert\" data-problem hidden></p><button class=\"quiet\">" + escape_html(label) +
         "</button></form>";
}

std::string sign_in_body(const FormGuard& guard, std::string_view email, std::string_view problem,
                         std::string_view passkey) {
  return "<main><h1>Sign in</h1>" + problem_line(problem) +
         guarded_form("/sign-in", guard,
                      "<label>E-mail <input type=\"email\" name=\"email\" required autofocus autocomplete=\"username\" "
                      "value=\"" +
                          escape_html(email) +
                          "\"></label><label>Password <input type=\"password\" name=\"password\" required "
                          "autocomplete=\"current-password\"></label><button>Sign in</button>") +
         std::string(passkey) + "</main>";
}

std::string second_factor_body(std::string_view action, const HiddenFields& fields, const signin::Factors& factors,
                               std::string_view problem, std::string_view passkey) {
  const std::string_view what =
      factors.totp ? "Enter the six digits that your authenticator app shows, or one of your recovery codes."
                   : "Use your passkey, or enter one of your recovery codes.";
  return "<main><h1>One more step</h1>" + problem_line(problem) + "<p>" + std::string(what) +
         "</p><form method=\"post\" action=\"" + std::string(action) + "\">" + hidden_fields(fields) +
         "<label>Code <input class=\"code\" name=\"code\" required autofocus autocomplete=\"one-time-code\" "
         "autocapitalize=\"characters\" spellcheck=\"false\" "
         "maxlength=\"32\"></label><button>Continue</button></form>" +
         std::string(passkey) + "</main>";
}

std::string account_body(const FormGuard& guard, const AccountView& view) {
  return "<main><h1>Your account</h1>" + problem_line(view.problem) + "<p>Signed in as <strong>" +
         escape_html(view.user.email) + "</strong>.</p>" +
         guarded_form("/sign-out", guard, "<button class=\"quiet\">Sign out</button>") +
         app_section(guard, view.factors) + passkey_section(guard, view) + recovery_section(guard, view.factors) +
         password_section(guard) + "</main>";
}

std::string app_body(const FormGuard& guard, ByteView secret, std::string_view issuer, std::string_view account,
                     std::string_view problem) {
  const auto code = signin::QrCode::make(signin::otpauth_uri(secret, issuer, account));
  return "<main><h1>Authenticator app</h1>" + problem_line(problem) +
         "<p>Scan this with the app, or type the key into it.</p>" + (code ? code->svg() : std::string()) +
         "<p><code>" + in_fours(signin::to_base32(secret)) + "</code></p>" +
         guarded_form("/account/app", guard,
                      "<label>The six digits that it shows <input class=\"code\" name=\"code\" required autofocus "
                      "inputmode=\"numeric\" autocomplete=\"one-time-code\" maxlength=\"16\"></label>"
                      "<button>Finish</button>") +
         "</main>";
}

std::string recovery_codes_body(const std::vector<std::string>& codes, std::string_view sentence) {
  std::string list;
  for (const std::string& code : codes) list += "<li><code>" + escape_html(code) + "</code></li>";
  return "<main><h1>Recovery codes</h1><p>" + escape_html(sentence) +
         " Keep these where only you find them: each lets you in once, in place of the app or a passkey. They are "
         "shown "
         "this one time.</p><ul class=\"codes\">" +
         list + "</ul><p><a href=\"/account\">Back to your account</a></p></main>";
}

}  // namespace postern::server
