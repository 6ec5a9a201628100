#include <algorithm>
#include <charconv>

#include "base/ip.hpp"
#include "controller_core/audit_text.hpp"
#include "controller_core/commands/commands.hpp"
#include "controller_core/limits.hpp"
#include "controller_core/names.hpp"
#include "identity/tokens.hpp"

namespace postern::controller {

namespace {

constexpr std::uint16_t kDefaultPort = 443;

std::optional<std::string> canonical_address(std::string_view text) {
  if (const auto ip = IpAddress::parse(text)) return SocketAddress{*ip, kDefaultPort}.to_string();
  if (const auto socket = SocketAddress::parse(text)) {
    return socket->port == 0 ? std::nullopt : std::optional(socket->to_string());
  }
  std::uint16_t port = kDefaultPort;
  if (const std::size_t colon = text.rfind(':'); colon != std::string_view::npos) {
    const std::string_view digits = text.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (error != std::errc() || end != digits.data() + digits.size() || port == 0) return std::nullopt;
    text = text.substr(0, colon);
  }
  const auto name = model::DnsName::parse(text);
  if (!name) return std::nullopt;
  return name->text() + ':' + std::to_string(port);
}

std::expected<std::vector<std::string>, CommandError> valid_addresses(const std::vector<std::string>& texts) {
  std::vector<std::string> addresses;
  for (const std::string& text : texts) {
    auto address = canonical_address(text);
    if (!address) {
      return refuse(CommandError::Kind::Invalid, '"' + shown_name(text) +
                                                     "\" is no address of a relay: give HOST:PORT, such as "
                                                     "203.0.113.11:443 or relay.example.org:443");
    }
    if (std::ranges::find(addresses, *address) == addresses.end()) addresses.push_back(std::move(*address));
  }
  if (addresses.empty() || addresses.size() > kRelayAddressesMax) {
    return refuse(CommandError::Kind::Invalid,
                  "a relay has from 1 to " + std::to_string(kRelayAddressesMax) + " addresses: give them as --address");
  }
  return addresses;
}

/// A new token, and the key that used the old one forgotten.
std::string renew_token(Plan& plan, RelayRecord& relay) {
  std::string token = identity::make_relay_token(plan.random());
  relay.token_digest = identity::sha256(as_bytes(token));
  relay.public_key.clear();
  relay.hostname.clear();
  relay.enrolled_at = {};
  return token;
}

CommandResult finish_with_token(Plan& plan, const RelayRecord& relay, std::string token) {
  plan.upsert(relay);
  CommandResult result = plan.finish(relay.id.value);
  result.relay_token = std::move(token);
  return result;
}

}  // namespace

PlanResult plan_command(Plan& plan, const CreateRelay& command) {
  auto name = valid_name("relay", command.name);
  if (!name) return std::unexpected(name.error());
  auto addresses = valid_addresses(command.addresses);
  if (!addresses) return std::unexpected(addresses.error());
  if (*name == kOwnRelayName || find_relay(plan.model(), *name)) {
    return refuse(CommandError::Kind::AlreadyExists, "there is a relay " + *name + " already");
  }
  if (plan.model().relays().size() + 1 >= kRelaysMax) {
    return refuse(CommandError::Kind::Conflict, "the Network has the most relays it can have (" +
                                                    std::to_string(kRelaysMax) + ", the server's own is one of them)");
  }
  RelayRecord relay;
  relay.id = model::RelayId(plan.draw_id());
  relay.name = std::move(*name);
  relay.addresses = std::move(*addresses);
  std::string token = renew_token(plan, relay);
  plan.audit("relay.create", subject("relay", relay.id.value), {}, audit_text(relay));
  return finish_with_token(plan, relay, std::move(token));
}

PlanResult plan_command(Plan& plan, const UpdateRelay& command) {
  const auto found = find_relay(plan.model(), command.relay);
  if (!found) return std::unexpected(found.error());
  auto addresses = valid_addresses(command.addresses);
  if (!addresses) return std::unexpected(addresses.error());
  RelayRecord relay = **found;
  const std::string before = audit_text(relay);
  relay.addresses = std::move(*addresses);
  plan.audit("relay.update", subject("relay", relay.id.value), before, audit_text(relay));
  plan.upsert(relay);
  return plan.finish(relay.id.value);
}

PlanResult plan_command(Plan& plan, const GenerateRelayToken& command) {
  const auto found = find_relay(plan.model(), command.relay);
  if (!found) return std::unexpected(found.error());
  RelayRecord relay = **found;
  const std::string before = audit_text(relay);
  std::string token = renew_token(plan, relay);
  plan.audit("relay.generate_token", subject("relay", relay.id.value), before, audit_text(relay));
  return finish_with_token(plan, relay, std::move(token));
}

PlanResult plan_command(Plan& plan, const DeleteRelay& command) {
  const auto found = find_relay(plan.model(), command.relay);
  if (!found) return std::unexpected(found.error());
  plan.audit("relay.delete", subject("relay", (*found)->id.value), audit_text(**found), {});
  plan.remove(**found);
  return plan.finish((*found)->id.value);
}

CommandResult plan_relay(Plan& plan, const EnrolRelay& command) {
  RelayRecord relay = *plan.model().relay(command.relay);
  const std::string before = audit_text(relay);
  relay.public_key = command.public_key;
  relay.hostname = shown_name(command.hostname);
  relay.enrolled_at = plan.now();
  plan.audit("relay.enrol", subject("relay", relay.id.value), before, audit_text(relay));
  plan.upsert(relay);
  return plan.finish(relay.id.value);
}

}  // namespace postern::controller
