#include <algorithm>

#include "controller_core/access.hpp"
#include "controller_core/audit_text.hpp"
#include "controller_core/commands/commands.hpp"
#include "controller_core/limits.hpp"
#include "controller_core/names.hpp"

namespace postern::controller {

namespace {

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
  return {};
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
  const Parts parts{command.name, command.address, command.aliases, command.tcp_ports};
  if (const auto set = set_parts(model, parts, resource); !set) return std::unexpected(set.error());
  resource.id = model::ResourceId(plan.draw_id());
  plan.raise_policy_version();
  plan.audit("resource.create", subject("resource", resource.id.value), {}, audit_text(resource));
  plan.upsert(ResourceRecord{resource});
  return plan.finish(resource.id.value);
}

PlanResult plan_command(Plan& plan, const UpdateResource& command) {
  const ModelState& model = plan.model();
  const auto found = find_resource(model, command.resource);
  if (!found) return std::unexpected(found.error());
  model::Resource resource = **found;
  const Parts parts{command.name, command.address, command.aliases, command.tcp_ports};
  if (const auto set = set_parts(model, parts, resource); !set) return std::unexpected(set.error());
  if (resource == **found) return plan.finish(resource.id.value);
  plan.raise_policy_version();
  plan.audit("resource.update", subject("resource", resource.id.value), audit_text(**found), audit_text(resource));
  plan.upsert(ResourceRecord{resource});
  return plan.finish(resource.id.value);
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
