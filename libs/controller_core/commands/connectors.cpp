#include <algorithm>

#include "controller_core/audit_text.hpp"
#include "controller_core/commands/commands.hpp"
#include "controller_core/connector_token.hpp"
#include "controller_core/limits.hpp"
#include "controller_core/names.hpp"
#include "identity/tokens.hpp"

namespace postern::controller {

namespace {

void remove_instances(Plan& plan, model::ConnectorId connector) {
  const ModelState& model = plan.model();
  for (const model::InstanceId instance : model.instances_of(connector)) plan.remove(*model.instance(instance));
}

/// The newest come first among those that are not connected.
std::vector<const InstanceRecord*> idle_instances(const ModelState& model, const EnrolInstance& command) {
  std::vector<const InstanceRecord*> idle;
  for (const model::InstanceId id : model.instances_of(command.connector)) {
    if (!command.keep.contains(id)) idle.push_back(model.instance(id));
  }
  std::ranges::sort(idle, std::greater{}, [](const InstanceRecord* each) { return each->id; });
  return idle;
}

}  // namespace

PlanResult plan_command(Plan& plan, const CreateConnector& command) {
  auto name = valid_name("connector", command.name);
  if (!name) return std::unexpected(name.error());
  const auto remote_network = find_remote_network(plan.model(), command.remote_network);
  if (!remote_network) return std::unexpected(remote_network.error());
  if (find_connector(plan.model(), *name)) {
    return refuse(CommandError::Kind::AlreadyExists, "there is a connector " + *name + " already");
  }
  if (plan.model().connectors().size() >= kConnectorsMax) {
    return refuse(CommandError::Kind::Conflict, "the Network has the most connectors it can have (10000)");
  }
  ConnectorRecord connector;
  connector.id = model::ConnectorId(plan.draw_id());
  connector.remote_network = (*remote_network)->id;
  connector.name = std::move(*name);
  plan.audit("connector.create", subject("connector", connector.id.value), {}, audit_text(connector));
  plan.upsert(connector);
  return plan.finish(connector.id.value);
}

PlanResult plan_command(Plan& plan, const UpdateConnector& command) {
  const auto found = find_connector(plan.model(), command.connector);
  if (!found) return std::unexpected(found.error());
  ConnectorRecord connector = **found;
  const std::string before = audit_text(connector);
  if (command.instances_max) connector.instances_max = *command.instances_max;
  if (connector.instances_max < 1 || connector.instances_max > kInstancesPerConnectorMax) {
    return refuse(CommandError::Kind::Invalid,
                  "a connector has from 1 to " + std::to_string(kInstancesPerConnectorMax) + " running instances");
  }
  if (connector == **found) return plan.finish(connector.id.value);
  plan.audit("connector.update", subject("connector", connector.id.value), before, audit_text(connector));
  plan.upsert(connector);
  return plan.finish(connector.id.value);
}

PlanResult plan_command(Plan& plan, const DrainConnector& command) {
  const auto found = find_connector(plan.model(), command.connector);
  if (!found) return std::unexpected(found.error());
  const auto& all = plan.model().instances_of((*found)->id);
  if (command.instance && !all.contains(*command.instance)) {
    return refuse(CommandError::Kind::NotFound,
                  "the connector " + (*found)->name + " has no instance " + std::to_string(command.instance->value));
  }
  for (const model::InstanceId id : all) {
    if (command.instance && id != *command.instance) continue;
    InstanceRecord instance = *plan.model().instance(id);
    const std::string before = audit_text(instance);
    if (std::exchange(instance.draining, command.draining) == command.draining) continue;
    const std::string action = command.draining ? "instance.drain" : "instance.resume";
    plan.audit(action, subject("instance", id.value), before, audit_text(instance));
    plan.upsert(instance);
  }
  return plan.finish((*found)->id.value);
}

PlanResult plan_command(Plan& plan, const DeleteConnector& command) {
  const auto found = find_connector(plan.model(), command.connector);
  if (!found) return std::unexpected(found.error());
  const ConnectorRecord& connector = **found;
  plan.raise_policy_version();
  remove_instances(plan, connector.id);
  plan.audit("connector.delete", subject("connector", connector.id.value), audit_text(connector), {});
  plan.remove(connector);
  return plan.finish(connector.id.value);
}

PlanResult plan_command(Plan& plan, const GenerateConnectorTokens& command) {
  const auto found = find_connector(plan.model(), command.connector);
  if (!found) return std::unexpected(found.error());
  ConnectorRecord connector = **found;
  const std::string before = audit_text(connector);
  ConnectorTokens tokens;
  tokens.refresh_token = identity::make_refresh_token(plan.random());
  tokens.access_token =
      make_access_token(plan.model().network(), connector, plan.keys().signing, plan.now(), plan.random());
  ++connector.token_generation;
  connector.refresh_token_digest = identity::sha256(as_bytes(tokens.refresh_token));
  plan.raise_policy_version();
  remove_instances(plan, connector.id);
  plan.audit("connector.generate_tokens", subject("connector", connector.id.value), before, audit_text(connector));
  plan.upsert(connector);
  CommandResult result = plan.finish(connector.id.value);
  result.tokens = std::move(tokens);
  return result;
}

CommandResult plan_instance(Plan& plan, const EnrolInstance& command) {
  const ModelState& model = plan.model();
  const auto idle = idle_instances(model, command);
  for (std::size_t i = kIdleInstancesMax - 1; i < idle.size(); ++i) plan.remove(*idle[i]);
  InstanceRecord instance;
  instance.id = model::InstanceId(plan.draw_id());
  instance.connector = command.connector;
  instance.token_generation = model.connector(command.connector)->token_generation;
  instance.public_key = command.public_key;
  instance.hostname = shown_name(command.hostname);
  instance.enrolled_at = plan.now();
  plan.audit("instance.enrol", subject("instance", instance.id.value), {}, audit_text(instance));
  plan.upsert(instance);
  return plan.finish(instance.id.value);
}

}  // namespace postern::controller
