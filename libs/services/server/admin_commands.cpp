#include "services/server/admin_commands.hpp"

#include <map>

#include "services/server/admin_views.hpp"

namespace postern::server {
namespace {

using namespace controller;
using CommandResultOr = std::expected<Command, ServerError>;

struct Verb {
  CommandResultOr (*make)(const AdminRequest& request, const std::string& password_hash);
  const char* outcome;  ///< %1 and %2 are the arguments
};

std::unexpected<ServerError> usage(const char* message) {
  return std::unexpected(ServerError{config::ExitCode::Usage, message});
}

template <typename Edge>
CommandResultOr edge_command(const AdminRequest& request) {
  if (request.has("group") == request.has("user")) return usage("give either --group GROUP or --user EMAIL");
  return Edge{request.argument(0), request.option("group"), request.option("user")};
}

CommandResultOr create_resource(const AdminRequest& request) {
  if (request.has("bypass") && (request.has("tcp") || request.has("udp") || request.has("no-ping"))) {
    return usage("what bypasses Postern has no ports: give either --bypass or --tcp, --udp and --no-ping");
  }
  return CreateResource{request.argument(0),
                        request.option("remote-network"),
                        request.option("address"),
                        request.list("alias"),
                        request.option("tcp"),
                        request.option("udp"),
                        !request.has("no-ping"),
                        request.has("bypass") ? model::Routing::Bypass : model::Routing::Through,
                        static_cast<std::uint32_t>(number_option(request, "priority", 0))};
}

CommandResultOr update_resource(const AdminRequest& request) {
  UpdateResource update;
  update.resource = request.argument(0);
  if (request.has("name")) update.name = request.option("name");
  if (request.has("address")) update.address = request.option("address");
  if (request.has("alias") && request.has("no-alias")) return usage("give either --alias or --no-alias");
  if (request.has("alias") || request.has("no-alias")) update.aliases = request.list("alias");
  if (request.has("tcp")) update.tcp_ports = request.option("tcp");
  if (request.has("udp")) update.udp_ports = request.option("udp");
  if (request.has("ping") && request.has("no-ping")) return usage("give either --ping or --no-ping");
  if (request.has("ping") || request.has("no-ping")) update.allow_icmp = request.has("ping");
  if (request.has("priority")) update.priority = static_cast<std::uint32_t>(number_option(request, "priority", 0));
  const bool has_rules = update.tcp_ports || update.udp_ports || update.allow_icmp || update.priority;
  if (!update.name && !update.address && !update.aliases && !has_rules) {
    return usage(
        "nothing to change: give --name, --address, --alias, --no-alias, --tcp, --udp, --ping, --no-ping or "
        "--priority");
  }
  return update;
}

CommandResultOr update_connector(const AdminRequest& request) {
  if (!request.has("max-instances")) return usage("nothing to change: give --max-instances");
  return UpdateConnector{request.argument(0), static_cast<std::uint32_t>(number_option(request, "max-instances", 0))};
}

CommandResultOr drain_connector(const AdminRequest& request, bool draining) {
  DrainConnector drain{request.argument(0), {}, draining};
  if (request.has("instance")) {
    drain.instance = model::InstanceId(static_cast<std::uint64_t>(number_option(request, "instance", 0)));
  }
  return drain;
}

using R = AdminRequest;
using S = std::string;

using VerbTable = std::map<std::string, Verb, std::less<>>;

VerbTable verbs_of_people() {
  return {
      {"user add",
       {[](const R& r, const S& hash) -> CommandResultOr {
          return CreateUser{r.argument(0), hash, r.has("admin") ? UserRole::Admin : UserRole::Member};
        },
        "The user %1 was added."}},
      {"user set-password",
       {[](const R& r, const S& hash) -> CommandResultOr {
          return SetPassword{r.argument(0), hash};
        },
        "The password of %1 was set."}},
      {"user disable",
       {[](const R& r, const S&) -> CommandResultOr {
          return SetUserState{r.argument(0), UserState::Disabled};
        },
        "The user %1 is disabled."}},
      {"user enable",
       {[](const R& r, const S&) -> CommandResultOr {
          return SetUserState{r.argument(0), UserState::Active};
        },
        "The user %1 is enabled."}},
      {"user delete",
       {[](const R& r, const S&) -> CommandResultOr { return DeleteUser{r.argument(0)}; }, "The user %1 was deleted."}},
      {"group add",
       {[](const R& r, const S&) -> CommandResultOr { return CreateGroup{r.argument(0)}; }, "The group %1 was added."}},
      {"group delete",
       {[](const R& r, const S&) -> CommandResultOr { return DeleteGroup{r.argument(0)}; },
        "The group %1 was deleted."}},
      {"group add-user",
       {[](const R& r, const S&) -> CommandResultOr {
          return AddToGroup{r.argument(0), r.argument(1)};
        },
        "%2 is a member of %1."}},
      {"group remove-user",
       {[](const R& r, const S&) -> CommandResultOr {
          return RemoveFromGroup{r.argument(0), r.argument(1)};
        },
        "%2 is no longer a member of %1."}}};
}

VerbTable verbs_of_networks() {
  return {
      {"remote-network add",
       {[](const R& r, const S&) -> CommandResultOr { return CreateRemoteNetwork{r.argument(0)}; },
        "The remote network %1 was added."}},
      {"remote-network delete",
       {[](const R& r, const S&) -> CommandResultOr { return DeleteRemoteNetwork{r.argument(0)}; },
        "The remote network %1 was deleted."}},
      {"connector add",
       {[](const R& r, const S&) -> CommandResultOr {
          return CreateConnector{r.argument(0), r.option("remote-network")};
        },
        "The connector %1 was added. Make its tokens: postern-server admin connector tokens '%1'"}},
      {"connector update",
       {[](const R& r, const S&) -> CommandResultOr { return update_connector(r); }, "The connector %1 was changed."}},
      {"connector drain",
       {[](const R& r, const S&) -> CommandResultOr { return drain_connector(r, true); },
        "New connections avoid what drains of %1; those that run go on. To see how many are left: "
        "postern-server admin connector show '%1'"}},
      {"connector resume",
       {[](const R& r, const S&) -> CommandResultOr { return drain_connector(r, false); },
        "%1 takes new connections again."}},
      {"connector delete",
       {[](const R& r, const S&) -> CommandResultOr { return DeleteConnector{r.argument(0)}; },
        "The connector %1 was deleted."}},
      {"connector tokens",
       {[](const R& r, const S&) -> CommandResultOr { return GenerateConnectorTokens{r.argument(0)}; }, ""}},
      {"resource add",
       {[](const R& r, const S&) -> CommandResultOr { return create_resource(r); },
        "The resource %1 was added. Nobody may reach it yet: postern-server admin access grant '%1' --group GROUP"}},
      {"resource update",
       {[](const R& r, const S&) -> CommandResultOr { return update_resource(r); }, "The resource %1 was changed."}},
      {"resource delete",
       {[](const R& r, const S&) -> CommandResultOr { return DeleteResource{r.argument(0)}; },
        "The resource %1 was deleted."}},
      {"access grant",
       {[](const R& r, const S&) -> CommandResultOr { return edge_command<GrantAccess>(r); },
        "Access to %1 was granted."}},
      {"access revoke",
       {[](const R& r, const S&) -> CommandResultOr { return edge_command<RevokeAccess>(r); },
        "Access to %1 was taken away."}},
      {"device delete",
       {[](const R& r, const S&) -> CommandResultOr { return DeleteDevice{r.argument(0)}; },
        "The device %1 is signed out."}}};
}

VerbTable verbs_of_relays() {
  return {
      {"relay add",
       {[](const R& r, const S&) -> CommandResultOr {
          return CreateRelay{r.argument(0), r.list("address")};
        },
        ""}},
      {"relay update",
       {[](const R& r, const S&) -> CommandResultOr {
          return UpdateRelay{r.argument(0), r.list("address")};
        },
        "The relay %1 was changed."}},
      {"relay token", {[](const R& r, const S&) -> CommandResultOr { return GenerateRelayToken{r.argument(0)}; }, ""}},
      {"relay delete",
       {[](const R& r, const S&) -> CommandResultOr { return DeleteRelay{r.argument(0)}; },
        "The relay %1 was deleted."}}};
}

const VerbTable& verbs() {
  static const VerbTable kVerbs = [] {
    VerbTable all = verbs_of_people();
    all.merge(verbs_of_networks());
    all.merge(verbs_of_relays());
    return all;
  }();
  return kVerbs;
}

}  // namespace

std::optional<std::expected<controller::Command, ServerError>> to_command(const AdminRequest& request,
                                                                          const std::string& password_hash) {
  const auto found = verbs().find(request.command);
  if (found == verbs().end()) return std::nullopt;
  return found->second.make(request, password_hash);
}

std::string outcome_sentence(const AdminRequest& request) {
  if (request.command == "resource add" && request.has("bypass")) {
    return "The resource " + request.argument(0) + " was added: " + request.option("address") +
           " is reached without Postern, by everybody.";
  }
  const auto found = verbs().find(request.command);
  if (found == verbs().end()) return {};
  std::string text;
  for (const char* at = found->second.outcome; *at != '\0'; ++at) {
    if (*at == '%' && (at[1] == '1' || at[1] == '2')) {
      text += request.argument(static_cast<std::size_t>(*++at - '1'));
    } else {
      text += *at;
    }
  }
  return text;
}

}  // namespace postern::server
