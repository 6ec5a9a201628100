// The controller of one Network without IO: the model in memory, commands on it, and the control channel of its agents.
//
// A command is planned against the model and gives a ChangeSet; the service commits that to the store and then calls
// apply(). Nothing that was not committed is ever seen by an agent. The control channel is a machine of its own:
// connections come in as numbers, messages as values, and everything to do comes out of poll_output().
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/ip.hpp"
#include "base/random.hpp"
#include "base/time.hpp"
#include "controller_core/records.hpp"
#include "identity/keys.hpp"
#include "identity/tokens.hpp"
#include "schema/control.pb.h"

namespace postern::controller {

// --- commands ------------------------------------------------------------------------------------------------------

/// Things are named by people: a reference is a name, an e-mail address or a decimal id.
struct CreateUser {
  std::string email;
  std::string password_hash;
  UserRole role = UserRole::Member;
};
struct SetPassword {
  std::string user;
  std::string password_hash;
};
struct SetUserState {
  std::string user;
  UserState state;
};
struct DeleteUser {
  std::string user;
};
struct CreateGroup {
  std::string name;
};
struct DeleteGroup {
  std::string group;
};
struct AddToGroup {
  std::string group;
  std::string user;
};
struct RemoveFromGroup {
  std::string group;
  std::string user;
};
struct CreateRemoteNetwork {
  std::string name;
};
struct DeleteRemoteNetwork {
  std::string remote_network;
};
struct CreateConnector {
  std::string name;
  std::string remote_network;
};
struct DeleteConnector {
  std::string connector;
};
/// Changes what is given and leaves the rest. Fewer instances than are running: the youngest are cut off.
struct UpdateConnector {
  std::string connector;
  std::optional<std::uint32_t> instances_max;
};
/// New flows go to other instances, if there are any; those that run go on. Without an instance: all that have
/// enrolled.
struct DrainConnector {
  std::string connector;
  std::optional<model::InstanceId> instance;
  bool draining = true;  ///< false: they take new flows again
};
/// The result carries the pair, once. Regenerating cuts off everything that used the old pair.
struct GenerateConnectorTokens {
  std::string connector;
};
struct CreateResource {
  std::string name;
  std::string remote_network;
  std::string address;
  std::vector<std::string> aliases;
  std::string tcp_ports;  ///< ProtocolRule::parse
  std::string udp_ports{};
  bool allow_icmp = true;
  model::Routing routing = model::Routing::Through;  ///< for good
  std::uint32_t priority = 0;
};
struct UpdateResource {
  std::string resource;
  std::optional<std::string> name;
  std::optional<std::string> address;
  std::optional<std::vector<std::string>> aliases;
  std::optional<std::string> tcp_ports;
  std::optional<std::string> udp_ports{};
  std::optional<bool> allow_icmp{};
  std::optional<std::uint32_t> priority{};
};
struct DeleteResource {
  std::string resource;
};
/// Exactly one of group and user is not empty.
struct GrantAccess {
  std::string resource;
  std::string group;
  std::string user;
};
struct RevokeAccess {
  std::string resource;
  std::string group;
  std::string user;
};
struct EnrolDevice {
  std::string user;
  std::string device_name;
  Bytes public_key;
  WallTime signed_in_until;
};
struct DeleteDevice {
  std::string device;
};
/// A relay in a process of its own. The result carries its token, once.
struct CreateRelay {
  std::string name;
  std::vector<std::string> addresses;  ///< HOST:PORT or HOST, as agents reach it
};
struct UpdateRelay {
  std::string relay;
  std::vector<std::string> addresses;
};
/// A new token; the relay that enrolled with the old one is cut off.
struct GenerateRelayToken {
  std::string relay;
};
struct DeleteRelay {
  std::string relay;
};

using Command = std::variant<CreateUser, SetPassword, SetUserState, DeleteUser, CreateGroup, DeleteGroup, AddToGroup,
                             RemoveFromGroup, CreateRemoteNetwork, DeleteRemoteNetwork, CreateConnector,
                             UpdateConnector, DrainConnector, DeleteConnector, GenerateConnectorTokens, CreateResource,
                             UpdateResource, DeleteResource, GrantAccess, RevokeAccess, EnrolDevice, DeleteDevice,
                             CreateRelay, UpdateRelay, GenerateRelayToken, DeleteRelay>;

struct CommandError {
  enum class Kind : std::uint8_t { NotFound, AlreadyExists, Invalid, Conflict };
  Kind kind;
  std::string message;  ///< one sentence for people: what, why, what to do
};

struct ConnectorTokens {
  std::string access_token;
  std::string refresh_token;
};
struct CommandResult {
  ChangeSet changes;
  /// Decimal id of the thing that was created or changed.
  std::uint64_t id = 0;
  std::optional<ConnectorTokens> tokens;
  std::optional<std::string> relay_token;
  std::vector<std::string> notes;  ///< what the admin should know of it, sentences
};

struct CommandContext {
  std::string actor;
  std::string origin;
  WallTime now;
};

struct NewNetwork {
  model::NetworkId id{1};
  std::string slug;
  std::string display_name;
  std::string url;
  std::string root_certificate_pem;
};
/// The change set that founds a Network: its record and the group Everyone. The service commits it, loads the records
/// into a Controller, and goes on with commands (the first admin). Its secrets are committed as SecretRecords.
[[nodiscard]] std::expected<ChangeSet, CommandError> found_network(const NewNetwork& wanted,
                                                                   const CommandContext& context);

// --- control channel -----------------------------------------------------------------------------------------------

using ConnectionNumber = StrongId<struct ConnectionTag>;

/// What the end of a connection says of the agent behind it.
enum class ConnectionEnd : std::uint8_t {
  Cut,   ///< the other side ended it without a goodbye: its process has ended, as far as can be known
  Lost,  ///< a goodbye, silence, an error of the network: the agent may come back
};

struct SendMessage {
  ConnectionNumber connection;
  wire::ControllerMessage message;
};
struct CloseConnection {
  ConnectionNumber connection;
};
/// The service commits this and answers with handle_committed(); the connection waits until then.
struct CommitFirst {
  std::uint64_t ticket;
  ChangeSet changes;
};
/// For the relay of this process: this route is void from now on. Relays of their own hear it over their channels.
struct RevokeRoute {
  RouteId route;
};
struct FlowLogged {
  model::ConnectorId connector;
  wire::FlowRecord record;
};
using Output = std::variant<SendMessage, CloseConnection, CommitFirst, RevokeRoute, FlowLogged>;

/// The relay of the server's own process; no other may have this name.
inline constexpr std::string_view kOwnRelayName = "main";

struct RelayEndpoint {
  std::string name;
  std::vector<SocketAddress> addresses;  ///< as agents reach it
  identity::SealKey seal_key{};
  std::uint64_t epoch = 0;
  std::optional<Digest> key_digest{};  ///< of a relay of its own: how its TLS is trusted
};

struct ControllerConfig {
  Duration lease_life = std::chrono::hours(4);
  Duration coalesce = std::chrono::milliseconds(50);
  Duration instance_silence_max = std::chrono::seconds(10);
  Duration connection_silence_max = std::chrono::seconds(30);
  /// So long an instance that is not heard is waited for: as long as a session outlives silence.
  Duration absence_max = std::chrono::minutes(30);
  /// The same when another process of its connector has enrolled since: it may have taken its place.
  Duration absence_max_beside_newer = std::chrono::seconds(60);
  std::uint32_t unauthenticated_max = 256;
};

/// Keys that the service opened from their sealed secrets.
struct ControllerKeys {
  identity::PrivateKey signing;
  Bytes knock_secret;  ///< 32 bytes; instance knock keys are derived from it
};

struct AgentStatus {
  std::uint64_t id = 0;  ///< device, instance or relay id
  wire::AgentRole role = wire::AGENT_ROLE_UNSPECIFIED;
  std::string address;
  WallTime connected_at;
  std::vector<std::string> relays;
  std::string software;
  std::uint32_t flows = 0;   ///< connectors: open ones, as of the last heartbeat
  wire::RelayReport report;  ///< relays: the last one
};

/// What was dropped or refused on the control channel since the start.
struct ControllerCounters {
  std::uint64_t unauthenticated_closed = 0;  ///< did not prove a key in time, or the bound was reached
  std::uint64_t silent_closed = 0;
  std::uint64_t denied = 0;
  std::uint64_t ignored_messages = 0;  ///< unknown, out of place, or of a connection that is gone
};

class Controller {
 public:
  Controller(ControllerConfig config, ControllerKeys keys, RandomSource& random);
  ~Controller();

  // --- model -----------------------------------------------------------------------------------------------------
  /// Loads records at start, before any agent connects.
  void load(Instant now, WallTime wall, std::span<const Record> records);
  /// Changes nothing but the counters that ids and policy versions are drawn from. Change sets are applied in the order
  /// in which they were planned; the service commits and applies one before it plans the next.
  [[nodiscard]] std::expected<CommandResult, CommandError> plan(const Command& command, const CommandContext& context);
  /// After the commit: changes the model and queues what agents must hear. `now` is monotonic, `wall` network time.
  void apply(Instant now, WallTime wall, const ChangeSet& changes);
  void set_relay(Instant now, const RelayEndpoint& relay);
  /// What the names among a relay's addresses stand for; those that are IP addresses need no help.
  void set_relay_names(Instant now, model::RelayId relay, std::vector<SocketAddress> addresses);

  // --- queries (a snapshot by value, for the admin socket and pages) ------------------------------------------------
  [[nodiscard]] const NetworkRecord& network() const;
  [[nodiscard]] std::vector<UserRecord> users() const;
  [[nodiscard]] std::optional<UserRecord> find_user(std::string_view email) const;
  [[nodiscard]] std::optional<UserRecord> find_user(model::UserId id) const;
  [[nodiscard]] std::vector<GroupRecord> groups() const;
  [[nodiscard]] std::vector<model::UserId> members(model::GroupId group) const;
  [[nodiscard]] std::vector<RemoteNetworkRecord> remote_networks() const;
  [[nodiscard]] std::vector<ConnectorRecord> connectors() const;
  [[nodiscard]] std::vector<InstanceRecord> instances(model::ConnectorId connector) const;
  [[nodiscard]] std::vector<DeviceRecord> devices() const;
  [[nodiscard]] std::vector<model::Resource> resources() const;
  [[nodiscard]] std::vector<AccessRecord> access(model::ResourceId resource) const;
  [[nodiscard]] std::vector<RelayRecord> relays() const;
  /// As agents are told of it now; nothing when they are not.
  [[nodiscard]] std::optional<RelayEndpoint> relay_endpoint(std::string_view name) const;
  /// Routes that a relay must refuse, for the one of this process at its start.
  [[nodiscard]] std::vector<RouteId> revoked_routes() const;
  [[nodiscard]] std::vector<AgentStatus> agents() const;
  [[nodiscard]] ControllerCounters counters() const;
  [[nodiscard]] identity::KeySet verification_keys() const;

  // --- control channel -------------------------------------------------------------------------------------------
  void handle_connect(Instant now, WallTime wall, ConnectionNumber connection, std::string_view address);
  void handle_message(Instant now, WallTime wall, ConnectionNumber connection, const wire::AgentMessage& message);
  void handle_disconnect(Instant now, WallTime wall, ConnectionNumber connection, ConnectionEnd end);
  void handle_committed(Instant now, WallTime wall, std::uint64_t ticket, bool ok);
  void handle_timeout(Instant now, WallTime wall);
  [[nodiscard]] std::optional<Instant> next_timeout() const;
  [[nodiscard]] std::optional<Output> poll_output();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace postern::controller
