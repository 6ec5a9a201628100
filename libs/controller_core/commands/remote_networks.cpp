#include "controller_core/audit_text.hpp"
#include "controller_core/commands/commands.hpp"
#include "controller_core/limits.hpp"
#include "controller_core/names.hpp"

namespace postern::controller {

PlanResult plan_command(Plan& plan, const CreateRemoteNetwork& command) {
  auto name = valid_name("remote network", command.name);
  if (!name) return std::unexpected(name.error());
  if (find_remote_network(plan.model(), *name)) {
    return refuse(CommandError::Kind::AlreadyExists, "there is a remote network " + *name + " already");
  }
  if (plan.model().remote_networks().size() >= kRemoteNetworksMax) {
    return refuse(CommandError::Kind::Conflict, "the Network has the most remote networks it can have (1000)");
  }
  const RemoteNetworkRecord record{model::RemoteNetworkId(plan.draw_id()), std::move(*name)};
  plan.audit("remote_network.create", subject("remote_network", record.id.value), {}, audit_text(record));
  plan.upsert(record);
  return plan.finish(record.id.value);
}

PlanResult plan_command(Plan& plan, const DeleteRemoteNetwork& command) {
  const ModelState& model = plan.model();
  const auto found = find_remote_network(model, command.remote_network);
  if (!found) return std::unexpected(found.error());
  const RemoteNetworkRecord& record = **found;
  const std::size_t resources = model.resources_of(record.id).size();
  const std::size_t connectors = model.connectors_of(record.id).size();
  if (resources + connectors != 0) {
    return refuse(CommandError::Kind::Conflict, "remote network " + record.name + " still has " +
                                                    std::to_string(resources) + " resources and " +
                                                    std::to_string(connectors) + " connectors: delete them first");
  }
  plan.audit("remote_network.delete", subject("remote_network", record.id.value), audit_text(record), {});
  plan.remove(record);
  return plan.finish(record.id.value);
}

}  // namespace postern::controller
