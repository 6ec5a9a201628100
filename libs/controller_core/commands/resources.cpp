#include <algorithm>

#include "controller_core/access.hpp"
#include "controller_core/audit_text.hpp"
#include "controller_core/commands/commands.hpp"
#include "controller_core/limits.hpp"
#include "controller_core/names.hpp"

namespace postern::controller {

namespace {

constexpr std::size_t kOverlapNotesMax = 5;

std::expected<model::ResourceAddress, CommandError> parse_address(std::string_view text) {
  const auto parsed = model::ResourceAddress::parse(text);
  if (parsed) return *parsed;
  using Error = model::ResourceAddress::Error;
  const std::string shown = '"' + shown_name(text) + '"';
  switch (parsed.error()) {
    case Error::Empty:
      return refuse(CommandError::Kind::Invalid, "a resource needs an address: a name, an IP address or a CIDR prefix");
    case Error::HostBitsSet:
      return refuse(
          CommandError::Kind::Invalid,
          shown + " has bits to the right of its prefix length: write the network's own address, like 10.0.0.0/24");
    case Error::InvalidIpOrFqdn:
      break;
  }
  return refuse(CommandError::Kind::Invalid,
                shown + " is not an address: give a name, a name with * or ?, an IP address or a CIDR prefix");
}

std::expected<model::ProtocolRule, CommandError> parse_ports(std::string_view text) {
  auto rule = model::ProtocolRule::parse(text);
  if (!rule) {
    return refuse(CommandError::Kind::Invalid,
                  '"' + shown_name(text) + "\" is not a list of ports: write it like 22,443,8000-9000");
  }
  if (rule->ports.size() > kPortRangesMax) {
    return refuse(CommandError::Kind::Invalid, "a resource has at most 128 port ranges: use wider ones");
  }
  return *rule;
}

/// An alias is a name for one thing; two resources with one alias would be told apart by chance.
std::optional<CommandError> alias_conflict(const ModelState& model, const model::DnsName& alias, model::ResourceId of) {
  const ResourceEntry* owner = model.resource_by_alias(alias);
  if (owner == nullptr || owner->resource.id == of) return std::nullopt;
  return CommandError{CommandError::Kind::Conflict, "the alias " + alias.text() + " belongs to resource " +
                                                        owner->resource.name + ": choose another"};
}

std::expected<std::vector<model::DnsName>, CommandError> parse_aliases(const ModelState& model,
                                                                       const std::vector<std::string>& texts,
                                                                       model::ResourceId of) {
  if (texts.size() > kAliasesMax) return refuse(CommandError::Kind::Invalid, "a resource has at most 16 aliases");
  std::vector<model::DnsName> aliases;
  for (const std::string& text : texts) {
    const auto alias = model::DnsName::parse(text);
    if (!alias || IpAddress::parse(text)) {
      return refuse(CommandError::Kind::Invalid,
                    '"' + shown_name(text) + "\" is not a DNS name: an alias is one like wiki.home");
    }
    if (auto conflict = alias_conflict(model, *alias, of)) return std::unexpected(std::move(*conflict));
    if (std::ranges::find(aliases, *alias) == aliases.end()) aliases.push_back(*alias);
  }
  return aliases;
}

/// The parts that a command gives; empty optionals leave the resource as it is.
struct Parts {
  std::optional<std::string> name;
  std::optional<std::string> address;
  std::optional<std::vector<std::string>> aliases;
  std::optional<std::string> tcp_ports;
  std::optional<std::string> udp_ports;
  std::optional<bool> allow_icmp;
  std::optional<std::uint32_t> priority;
};

std::expected<void, CommandError> set_name(const ModelState& model, std::string_view text, model::Resource& resource) {
  auto name = valid_name("resource", text);
  if (!name) return std::unexpected(name.error());
  const auto other = find_resource(model, *name);
  if (other && (*other)->id != resource.id) {
    return refuse(CommandError::Kind::AlreadyExists, "there is a resource " + *name + " already");
  }
  resource.name = std::move(*name);
  return {};
}

std::string place_of(const ModelState& model, const model::Resource& resource) {
  const RemoteNetworkRecord* network = model.remote_network(resource.remote_network);
  return "resource " + resource.name + " (" + resource.address.text() + ") behind remote network " +
         (network != nullptr ? network->name : std::string("?"));
}

std::expected<void, CommandError> check_bypass(const model::Resource& resource) {
  if (!resource.is_bypass()) return {};
  if (!resource.address.is_literal()) {
    return refuse(CommandError::Kind::Invalid, "only one name or one IP address can bypass Postern, not " +
                                                   resource.address.text() + ": add one resource for each");
  }
  if (resource.aliases.empty()) return {};
  return refuse(CommandError::Kind::Invalid, "an address that bypasses Postern has no aliases: leave --alias out");
}

/// Equally specific and behind another remote network: somebody has to say which one is meant.
std::expected<void, CommandError> check_order(const ModelState& model, const model::Resource& resource) {
  for (const auto& [id, entry] : model.resources()) {
    const model::Resource& other = entry.resource;
    if (other.remote_network == resource.remote_network || other.address != resource.address ||
        other.priority != resource.priority) {
      continue;
    }
    return refuse(CommandError::Kind::Conflict, "the same address is " + place_of(model, other) +
                                                    ", with the same priority " + std::to_string(other.priority) +
                                                    ": say with --priority which one wins (the higher number)");
  }
  return {};
}

std::expected<void, CommandError> set_parts(const ModelState& model, const Parts& parts, model::Resource& resource) {
  if (parts.name) {
    if (auto set = set_name(model, *parts.name, resource); !set) return set;
  }
  if (parts.address) {
    auto address = parse_address(*parts.address);
    if (!address) return std::unexpected(address.error());
    resource.address = std::move(*address);
  }
  if (parts.aliases) {
    auto aliases = parse_aliases(model, *parts.aliases, resource.id);
    if (!aliases) return std::unexpected(aliases.error());
    resource.aliases = std::move(*aliases);
  }
  if (parts.tcp_ports) {
    auto rule = parse_ports(*parts.tcp_ports);
    if (!rule) return std::unexpected(rule.error());
    resource.tcp = std::move(*rule);
  }
  if (parts.udp_ports) {
    auto rule = parse_ports(*parts.udp_ports);
    if (!rule) return std::unexpected(rule.error());
    resource.udp = std::move(*rule);
  }
  if (parts.allow_icmp) resource.allow_icmp = *parts.allow_icmp;
  if (parts.priority) {
    if (*parts.priority > model::Resource::kPriorityMax) {
      return refuse(CommandError::Kind::Invalid, "a priority is a number from 0 to 1000");
    }
    resource.priority = *parts.priority;
  }
  if (auto fits = check_bypass(resource); !fits) return fits;
  return check_order(model, resource);
}

/// Overlaps that specificity decides: fine, but worth a look.
std::vector<std::string> overlap_notes(const ModelState& model, const model::Resource& resource) {
  std::vector<std::string> notes;
  const auto* prefix = std::get_if<IpPrefix>(&resource.address.value());
  if (prefix == nullptr) return notes;
  for (const auto& [id, entry] : model.resources()) {
    const model::Resource& other = entry.resource;
    const auto* other_prefix = std::get_if<IpPrefix>(&other.address.value());
    const bool overlaps = other_prefix != nullptr && other.remote_network != resource.remote_network &&
                          other_prefix->address().family() == prefix->address().family() &&
                          other_prefix->overlaps(*prefix);
    if (!overlaps || notes.size() == kOverlapNotesMax) continue;
    const bool is_same = *other_prefix == *prefix;
    const bool wins = is_same ? resource.priority > other.priority : prefix->length() > other_prefix->length();
    notes.push_back("It overlaps " + place_of(model, other) + ": " +
                    (is_same ? "by its priority " : "being narrower ") + (wins ? resource.name : other.name) +
                    " wins for the addresses that they share.");
  }
  return notes;
}

}  // namespace

PlanResult plan_command(Plan& plan, const CreateResource& command) {
  const ModelState& model = plan.model();
  const auto remote_network = find_remote_network(model, command.remote_network);
  if (!remote_network) return std::unexpected(remote_network.error());
  if (model.resources_of((*remote_network)->id).size() >= kResourcesPerRemoteNetworkMax) {
    return refuse(CommandError::Kind::Conflict, "remote network " + (*remote_network)->name +
                                                    " has the most resources it can have (1500): use CIDR "
                                                    "prefixes or wildcards, or another remote network");
  }
  model::Resource resource;
  resource.remote_network = (*remote_network)->id;
  resource.routing = command.routing;
  const Parts parts{command.name,      command.address,    command.aliases, command.tcp_ports,
                    command.udp_ports, command.allow_icmp, command.priority};
  if (const auto set = set_parts(model, parts, resource); !set) return std::unexpected(set.error());
  resource.id = model::ResourceId(plan.draw_id());
  plan.raise_policy_version();
  plan.audit("resource.create", subject("resource", resource.id.value), {}, audit_text(resource));
  plan.upsert(ResourceRecord{resource});
  return plan.finish(resource.id.value, overlap_notes(model, resource));
}

PlanResult plan_command(Plan& plan, const UpdateResource& command) {
  const ModelState& model = plan.model();
  const auto found = find_resource(model, command.resource);
  if (!found) return std::unexpected(found.error());
  model::Resource resource = **found;
  const Parts parts{command.name,      command.address,    command.aliases, command.tcp_ports,
                    command.udp_ports, command.allow_icmp, command.priority};
  if (const auto set = set_parts(model, parts, resource); !set) return std::unexpected(set.error());
  if (resource == **found) return plan.finish(resource.id.value);
  plan.raise_policy_version();
  plan.audit("resource.update", subject("resource", resource.id.value), audit_text(**found), audit_text(resource));
  plan.upsert(ResourceRecord{resource});
  return plan.finish(resource.id.value, overlap_notes(model, resource));
}

PlanResult plan_command(Plan& plan, const DeleteResource& command) {
  const ModelState& model = plan.model();
  const auto found = find_resource(model, command.resource);
  if (!found) return std::unexpected(found.error());
  const model::Resource& resource = **found;
  plan.raise_policy_version();
  for (const model::UserId user : users_with_edge(model, resource.id)) plan.revoke(user, {resource.id});
  const AccessEdges& edges = model.access(resource.id);
  for (const model::GroupId group : edges.groups) plan.remove(AccessRecord{resource.id, group, {}});
  for (const model::UserId user : edges.users) plan.remove(AccessRecord{resource.id, {}, user});
  plan.audit("resource.delete", subject("resource", resource.id.value), audit_text(resource), {});
  plan.remove(ResourceRecord{resource});
  return plan.finish(resource.id.value);
}

}  // namespace postern::controller
