// Every command as a function of the model: it gives a change set or says in one sentence why not.
#pragma once

#include <expected>

#include "controller_core/controller.hpp"
#include "controller_core/plan.hpp"

namespace postern::controller {

using PlanResult = std::expected<CommandResult, CommandError>;

[[nodiscard]] PlanResult plan_command(Plan& plan, const CreateUser& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const SetPassword& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const SetUserState& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const DeleteUser& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const CreateGroup& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const DeleteGroup& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const AddToGroup& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const RemoveFromGroup& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const CreateRemoteNetwork& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const DeleteRemoteNetwork& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const CreateConnector& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const UpdateConnector& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const DrainConnector& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const DeleteConnector& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const GenerateConnectorTokens& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const CreateResource& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const UpdateResource& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const DeleteResource& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const GrantAccess& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const RevokeAccess& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const EnrolDevice& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const DeleteDevice& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const CreateRelay& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const UpdateRelay& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const GenerateRelayToken& command);
[[nodiscard]] PlanResult plan_command(Plan& plan, const DeleteRelay& command);

/// A connector process proved its refresh token: its key becomes an instance. Older idle keys beyond the bound go;
/// `keep` are those that are connected.
struct EnrolInstance {
  model::ConnectorId connector;
  Bytes public_key;
  std::string hostname;
  std::set<model::InstanceId> keep;
};
[[nodiscard]] CommandResult plan_instance(Plan& plan, const EnrolInstance& command);

/// A relay proved its token, which no other key has used: its key becomes the relay's.
struct EnrolRelay {
  model::RelayId relay;
  Bytes public_key;
  std::string hostname;
};
[[nodiscard]] CommandResult plan_relay(Plan& plan, const EnrolRelay& command);

}  // namespace postern::controller
