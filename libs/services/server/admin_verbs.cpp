#include "services/server/admin_verbs.hpp"

#include "controller_core/limits.hpp"

namespace postern::server {
namespace {

using config::Argument;
using config::Command;
using config::Option;
using config::Presence;
using config::ValueKind;

Argument named(std::string name, std::string sentence) {
  return {.name = std::move(name), .sentence = std::move(sentence)};
}

Option password_option(std::string sentence) {
  return {.name = std::string(kPasswordFile), .sentence = std::move(sentence), .value_name = "FILE"};
}

const Argument kUser = named("EMAIL", "The user's e-mail address.");
const Argument kGroup = named("GROUP", "The group's name.");
const Argument kRemoteNetwork = named("NAME", "The remote network's name.");
const Argument kConnector = named("NAME", "The connector's name.");
const Argument kResource = named("NAME", "The resource's name.");

Option to_remote_network() {
  return {.name = "remote-network",
          .sentence = "The remote network behind which it lives.",
          .value_name = "NAME",
          .required = true};
}

Option address_option(bool required) {
  return {.name = "address",
          .sentence = "What people reach: a name, a pattern such as *.lab.home, an IP address or a CIDR.",
          .value_name = "ADDRESS",
          .required = required};
}

const Option kAlias{.name = "alias",
                    .sentence = "Another name for it, that only exists in Postern.",
                    .kind = ValueKind::List,
                    .value_name = "NAME"};
const Option kTcp{.name = "tcp",
                  .sentence = "TCP ports that may be reached: 80,443,8000-9000; without it, all.",
                  .value_name = "PORTS"};
const Option kPriority{.name = "priority",
                       .sentence = "Which of resources with the same address wins: the one with the higher number.",
                       .kind = ValueKind::Integer,
                       .value_name = "N",
                       .minimum = 0,
                       .maximum = 1000};
const Option kUdp{.name = "udp",
                  .sentence = "UDP ports that may be reached: 53,5000-6000 or none; without it, all.",
                  .value_name = "PORTS"};
const Option kNoPing{.name = "no-ping", .sentence = "Refuses ICMP echo requests.", .kind = ValueKind::Switch};
const Option kForGroup{.name = "group", .sentence = "Who: the members of this group.", .value_name = "GROUP"};
const Option kForUser{.name = "user", .sentence = "Who: this user.", .value_name = "EMAIL"};

Option count_option(std::string what) {
  return {.name = "count",
          .sentence = "How many " + std::move(what) + ", newest first.",
          .kind = ValueKind::Integer,
          .value_name = "N",
          .default_value = "50",
          .minimum = 1,
          .maximum = 1000};
}

const Option kBefore{.name = "before",
                     .sentence = "Only entries with a lower number, to go on with the next page.",
                     .kind = ValueKind::Integer,
                     .value_name = "NUMBER"};

std::vector<Command> user_verbs() {
  return {
      {.name = "user add",
       .sentence = "Adds a user. Without a password file it prints a one-time link where the password is set.",
       .options = {password_option("Reads the password from FILE, - is standard input."),
                   {.name = "admin", .sentence = "The user may administer.", .kind = ValueKind::Switch}},
       .arguments = {kUser}},
      {.name = "user list", .sentence = "Lists the users."},
      {.name = "user set-password",
       .sentence = "Sets a password. Without a password file it prints a one-time link where it is set.",
       .options = {password_option("Reads the password from FILE, - is standard input.")},
       .arguments = {kUser}},
      {.name = "user reset-mfa",
       .sentence = "Takes authenticator app, passkeys and recovery codes away; the password alone signs in again.",
       .arguments = {kUser}},
      {.name = "user disable", .sentence = "Takes away all access at once, and keeps the user.", .arguments = {kUser}},
      {.name = "user enable", .sentence = "Gives the access back.", .arguments = {kUser}},
      {.name = "user delete", .sentence = "Deletes the user and its devices.", .arguments = {kUser}}};
}

std::vector<Command> group_verbs() {
  return {{.name = "group add", .sentence = "Adds a group.", .arguments = {kGroup}},
          {.name = "group list", .sentence = "Lists the groups and their members."},
          {.name = "group delete", .sentence = "Deletes a group.", .arguments = {kGroup}},
          {.name = "group add-user", .sentence = "Makes a user a member.", .arguments = {kGroup, kUser}},
          {.name = "group remove-user", .sentence = "Ends a membership.", .arguments = {kGroup, kUser}}};
}

std::vector<Command> remote_network_verbs() {
  return {
      {.name = "remote-network add", .sentence = "Adds a remote network.", .arguments = {kRemoteNetwork}},
      {.name = "remote-network list", .sentence = "Lists the remote networks."},
      {.name = "remote-network delete", .sentence = "Deletes an empty remote network.", .arguments = {kRemoteNetwork}}};
}

std::vector<Command> connector_verbs() {
  const Option instance{.name = "instance",
                        .sentence = "Only this process of it, as `connector show` names it.",
                        .kind = ValueKind::Integer,
                        .value_name = "ID",
                        .minimum = 1,
                        .maximum = INT64_MAX};
  return {{.name = "connector add",
           .sentence = "Adds a connector.",
           .options = {to_remote_network()},
           .arguments = {kConnector}},
          {.name = "connector list", .sentence = "Lists the connectors and their running instances."},
          {.name = "connector show",
           .sentence = "Shows a connector and every process of it: host, state, since when, relays, version.",
           .arguments = {kConnector}},
          {.name = "connector update",
           .sentence = "Changes what is given and leaves the rest.",
           .options = {{.name = "max-instances",
                        .sentence = "How many processes may run with its tokens at once; the youngest beyond are cut "
                                    "off.",
                        .kind = ValueKind::Integer,
                        .value_name = "N",
                        .minimum = 1,
                        .maximum = controller::kInstancesPerConnectorMax}},
           .arguments = {kConnector}},
          {.name = "connector drain",
           .sentence = "New connections avoid its running processes where others can take them; those that run go on.",
           .options = {instance},
           .arguments = {kConnector}},
          {.name = "connector resume",
           .sentence = "Ends a drain: its processes take new connections again.",
           .options = {instance},
           .arguments = {kConnector}},
          {.name = "connector delete",
           .sentence = "Deletes a connector; it is cut off at once.",
           .arguments = {kConnector}},
          {.name = "connector tokens",
           .sentence = "Makes new tokens and prints them, once. What runs with older ones is cut off.",
           .arguments = {kConnector}}};
}

std::vector<Command> relay_verbs() {
  const Argument relay = named("NAME", "The relay's name.");
  const Option addresses{.name = "address",
                         .sentence = "Where agents reach it: HOST:PORT, with an IP address or a name.",
                         .kind = ValueKind::List,
                         .value_name = "HOST:PORT",
                         .required = true};
  return {{.name = "relay add",
           .sentence = "Adds a relay that runs apart from this server, and prints what it needs, once.",
           .options = {addresses},
           .arguments = {relay}},
          {.name = "relay list", .sentence = "Lists the relays, their load and whether they are connected."},
          {.name = "relay update",
           .sentence = "Gives it other addresses; agents follow at once.",
           .options = {addresses},
           .arguments = {relay}},
          {.name = "relay token",
           .sentence = "Makes a new token and prints it, once. The relay that used the old one is cut off.",
           .arguments = {relay}},
          {.name = "relay delete", .sentence = "Deletes a relay; it is cut off at once.", .arguments = {relay}}};
}

std::vector<Command> resource_verbs() {
  return {{.name = "resource add",
           .sentence = "Adds a resource. Nobody may reach it until access is granted.",
           .options = {to_remote_network(),
                       address_option(true),
                       kAlias,
                       kTcp,
                       kUdp,
                       kNoPing,
                       kPriority,
                       {.name = "bypass",
                        .sentence = "One name or IP address inside a wider resource that is reached without Postern.",
                        .kind = ValueKind::Switch}},
           .arguments = {kResource}},
          {.name = "resource list", .sentence = "Lists the resources."},
          {.name = "resource update",
           .sentence = "Changes what is given and leaves the rest.",
           .options = {{.name = "name", .sentence = "Its new name.", .value_name = "NAME"},
                       address_option(false),
                       kAlias,
                       {.name = "no-alias", .sentence = "Takes all aliases away.", .kind = ValueKind::Switch},
                       {.name = "tcp", .sentence = "TCP ports that may be reached; * for all.", .value_name = "PORTS"},
                       {.name = "udp", .sentence = "UDP ports that may be reached; * for all.", .value_name = "PORTS"},
                       {.name = "ping", .sentence = "Allows ICMP echo requests.", .kind = ValueKind::Switch},
                       kNoPing,
                       kPriority},
           .arguments = {kResource}},
          {.name = "resource delete", .sentence = "Deletes a resource.", .arguments = {kResource}}};
}

std::vector<Command> access_verbs() {
  return {{.name = "access grant",
           .sentence = "Lets a group or a user reach a resource.",
           .options = {kForGroup, kForUser},
           .arguments = {named("RESOURCE", "The resource's name.")}},
          {.name = "access revoke",
           .sentence = "Takes it away; connections that are open end within a second.",
           .options = {kForGroup, kForUser},
           .arguments = {named("RESOURCE", "The resource's name.")}},
          {.name = "access list",
           .sentence = "Lists who may reach what.",
           .arguments = {{.name = "RESOURCE", .sentence = "Only this resource.", .presence = Presence::Optional}}}};
}

std::vector<Command> other_verbs() {
  return {{.name = "device list", .sentence = "Lists the devices that are signed in."},
          {.name = "device delete",
           .sentence = "Signs a device out.",
           .arguments = {named("DEVICE", "The device's id, or its name when no other device has it.")}},
          {.name = "network show", .sentence = "Shows the Network: its URL, enrolment URL and the server's own CA."},
          {.name = "status", .sentence = "Shows who is connected, and the relay's counters."},
          {.name = "audit list", .sentence = "Lists who changed what.", .options = {count_option("entries"), kBefore}},
          {.name = "flow list",
           .sentence = "Lists connections that ended or were refused.",
           .options = {count_option("flows"), kBefore}}};
}

}  // namespace

const config::Program& admin_program() {
  static const config::Program kProgram = [] {
    config::Program program{.name = "postern-server admin",
                            .sentence =
                                "Manages the Network of the server that runs on this machine. Before the command: "
                                "--socket PATH names the server's socket, --json prints one JSON document."};
    for (auto&& verbs : {user_verbs(), group_verbs(), remote_network_verbs(), connector_verbs(), relay_verbs(),
                         resource_verbs(), access_verbs(), other_verbs()}) {
      program.commands.insert(program.commands.end(), verbs.begin(), verbs.end());
    }
    return program;
  }();
  return kProgram;
}

}  // namespace postern::server
