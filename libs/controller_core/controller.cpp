#include "controller_core/controller.hpp"

#include <algorithm>

#include "controller_core/audit_text.hpp"
#include "controller_core/commands/commands.hpp"
#include "controller_core/control_channel.hpp"
#include "controller_core/names.hpp"

namespace postern::controller {

class Controller::Impl {
 public:
  Impl(ControllerConfig wanted, ControllerKeys held, RandomSource& source)
      : config(wanted), keys(std::move(held)), random(source), channel(config, keys, random, model, counters) {}

  const ControllerConfig config;
  const ControllerKeys keys;
  RandomSource& random;
  ModelState model;
  Counters counters;
  ControlChannel channel;
};

namespace {

/// The highest id in the records: an older file may not have counted all of them.
struct HighestId {
  std::uint64_t operator()(const NetworkRecord&) const { return 0; }
  std::uint64_t operator()(const MembershipRecord&) const { return 0; }
  std::uint64_t operator()(const AccessRecord&) const { return 0; }
  std::uint64_t operator()(const SecretRecord&) const { return 0; }
  std::uint64_t operator()(const RevokedRouteRecord&) const { return 0; }
  std::uint64_t operator()(const ResourceRecord& record) const { return record.resource.id.value; }
  std::uint64_t operator()(const RevocationRecord& record) const { return record.id; }
  template <typename Other>
  std::uint64_t operator()(const Other& record) const {
    return record.id.value;
  }
};

template <typename Table>
auto values_of(const Table& table) {
  std::vector<typename Table::mapped_type> values;
  values.reserve(table.size());
  for (const auto& [id, record] : table) values.push_back(record);
  return values;
}

}  // namespace

std::expected<ChangeSet, CommandError> found_network(const NewNetwork& wanted, const CommandContext& context) {
  if (!is_valid_slug(wanted.slug)) {
    return refuse(CommandError::Kind::Invalid,
                  "\"" + shown_name(wanted.slug) + "\" cannot name a Network: use 1 to 63 of a-z, 0-9 and '-'");
  }
  if (wanted.id.value == 0) return refuse(CommandError::Kind::Invalid, "a Network needs an id above 0");
  const std::string display_name = shown_name(wanted.display_name);
  NetworkRecord network{wanted.id,
                        wanted.slug,
                        display_name.empty() ? wanted.slug : display_name,
                        wanted.url,
                        wanted.root_certificate_pem,
                        1,
                        2,
                        context.now};
  const GroupRecord everyone{model::GroupId(1), "Everyone", true};
  ChangeSet changes;
  changes.changes.emplace_back(Upsert{network});
  changes.changes.emplace_back(Upsert{everyone});
  changes.audit.push_back({context.now, context.actor, context.origin, "network.found",
                           subject("network", wanted.id.value), "", audit_text(everyone)});
  return changes;
}

Controller::Controller(ControllerConfig config, ControllerKeys keys, RandomSource& random)
    : impl_(std::make_unique<Impl>(config, std::move(keys), random)) {}
Controller::~Controller() = default;

void Controller::load(Instant now, WallTime wall, std::span<const Record> records) {
  std::uint64_t highest = 0;
  for (const Record& record : records) {
    impl_->model.put(record);
    highest = std::max(highest, std::visit(HighestId{}, record));
  }
  impl_->counters.next_id = std::max(impl_->model.network().next_id, highest + 1);
  impl_->counters.policy_version = impl_->model.network().policy_version;
  impl_->channel.load(now, wall);
}

std::expected<CommandResult, CommandError> Controller::plan(const Command& command, const CommandContext& context) {
  Plan plan(impl_->model, impl_->counters, impl_->random, context, impl_->config, impl_->keys);
  auto planned = std::visit([&](const auto& each) { return plan_command(plan, each); }, command);
  if (planned) impl_->channel.add_revoked_routes(planned->changes, context.now);
  return planned;
}

void Controller::apply(Instant now, WallTime wall, const ChangeSet& changes) {
  impl_->channel.apply(now, wall, changes);
}

void Controller::set_relay(Instant now, const RelayEndpoint& relay) {
  impl_->channel.set_relay(now, relay);
}

void Controller::set_relay_names(Instant now, model::RelayId relay, std::vector<SocketAddress> addresses) {
  impl_->channel.set_relay_names(now, relay, std::move(addresses));
}

const NetworkRecord& Controller::network() const {
  return impl_->model.network();
}
std::vector<UserRecord> Controller::users() const {
  return values_of(impl_->model.users());
}
std::vector<GroupRecord> Controller::groups() const {
  return values_of(impl_->model.groups());
}
std::vector<RemoteNetworkRecord> Controller::remote_networks() const {
  return values_of(impl_->model.remote_networks());
}
std::vector<ConnectorRecord> Controller::connectors() const {
  return values_of(impl_->model.connectors());
}
std::vector<DeviceRecord> Controller::devices() const {
  return values_of(impl_->model.devices());
}

std::optional<UserRecord> Controller::find_user(std::string_view email) const {
  const UserRecord* user = impl_->model.user_by_email(email);
  if (user == nullptr) return std::nullopt;
  return *user;
}

std::optional<UserRecord> Controller::find_user(model::UserId id) const {
  const UserRecord* user = impl_->model.user(id);
  if (user == nullptr) return std::nullopt;
  return *user;
}

std::vector<model::UserId> Controller::members(model::GroupId group) const {
  std::vector<model::UserId> result;
  for (const auto& [id, user] : impl_->model.users()) {
    const bool is_in =
        group == impl_->model.everyone() ? user.state == UserState::Active : impl_->model.members(group).contains(id);
    if (is_in) result.push_back(id);
  }
  return result;
}

std::vector<InstanceRecord> Controller::instances(model::ConnectorId connector) const {
  std::vector<InstanceRecord> result;
  for (const auto id : impl_->model.instances_of(connector)) result.push_back(*impl_->model.instance(id));
  return result;
}

std::vector<model::Resource> Controller::resources() const {
  std::vector<model::Resource> result;
  for (const auto& [id, entry] : impl_->model.resources()) result.push_back(entry.resource);
  return result;
}

std::vector<AccessRecord> Controller::access(model::ResourceId resource) const {
  std::vector<AccessRecord> result;
  const AccessEdges& edges = impl_->model.access(resource);
  for (const auto group : edges.groups) result.push_back({resource, group, {}});
  for (const auto user : edges.users) result.push_back({resource, {}, user});
  return result;
}

std::vector<RelayRecord> Controller::relays() const {
  return values_of(impl_->model.relays());
}

std::optional<RelayEndpoint> Controller::relay_endpoint(std::string_view name) const {
  const RelayEndpoint* endpoint = impl_->channel.relays().find(name);
  if (endpoint == nullptr) return std::nullopt;
  return *endpoint;
}

std::vector<RouteId> Controller::revoked_routes() const {
  std::vector<RouteId> routes;
  for (const auto& [route, expires_at] : impl_->model.revoked_routes()) routes.push_back(route);
  return routes;
}

std::vector<AgentStatus> Controller::agents() const {
  std::vector<AgentStatus> result;
  for (const auto& [number, agent] : impl_->channel.agents().all()) {
    if (agent.state != AgentState::Authenticated) continue;
    AgentStatus status{0, agent.role, agent.address, agent.connected_at, agent.relays, agent.software, agent.flows, {}};
    if (const auto* client = agent.client()) status.id = client->device.value;
    if (const auto* connector = agent.connector()) status.id = connector->instance.value;
    if (const auto* relay = agent.relay()) {
      status.id = relay->relay.value;
      status.report = relay->report;
    }
    result.push_back(std::move(status));
  }
  return result;
}

ControllerCounters Controller::counters() const {
  return impl_->channel.counters();
}

identity::KeySet Controller::verification_keys() const {
  const identity::PublicKey& key = impl_->keys.signing.public_key();
  return {{identity::key_id(key), key}};
}

void Controller::handle_connect(Instant now, WallTime wall, ConnectionNumber connection, std::string_view address) {
  impl_->channel.handle_connect(now, wall, connection, address);
}
void Controller::handle_message(Instant now, WallTime wall, ConnectionNumber connection,
                                const wire::AgentMessage& message) {
  impl_->channel.handle_message(now, wall, connection, message);
}
void Controller::handle_disconnect(Instant now, WallTime wall, ConnectionNumber connection, ConnectionEnd end) {
  impl_->channel.handle_disconnect(now, wall, connection, end);
}
void Controller::handle_committed(Instant now, WallTime wall, std::uint64_t ticket, bool ok) {
  impl_->channel.handle_committed(now, wall, ticket, ok);
}
void Controller::handle_timeout(Instant now, WallTime wall) {
  impl_->channel.handle_timeout(now, wall);
}
std::optional<Instant> Controller::next_timeout() const {
  return impl_->channel.next_timeout();
}
std::optional<Output> Controller::poll_output() {
  return impl_->channel.poll_output();
}

}  // namespace postern::controller
