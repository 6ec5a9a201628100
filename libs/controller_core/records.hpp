// The records of a Network as the store keeps them. A ChangeSet is what one command changes: the service commits it to
// the store in one transaction, and only then applies it to the model in memory and answers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.hpp"
#include "base/route_id.hpp"
#include "base/time.hpp"
#include "model/ids.hpp"
#include "model/resource.hpp"

namespace postern::controller {

enum class UserRole : std::uint8_t { Admin = 1, Member = 2 };
enum class UserState : std::uint8_t { Active = 1, Disabled = 2 };

struct NetworkRecord {
  model::NetworkId id;
  std::string slug;  ///< [a-z0-9-]{1,63}
  std::string display_name;
  std::string url;                   ///< "https://203.0.113.10" or with a port
  std::string root_certificate_pem;  ///< empty with a public certificate
  std::uint64_t policy_version = 1;
  /// One counter gives the ids of all things of this Network, so that an id is never used again, for any kind.
  std::uint64_t next_id = 1;
  WallTime created_at;
  bool operator==(const NetworkRecord&) const = default;
};
struct UserRecord {
  model::UserId id;
  std::string email;          ///< folded to lower case
  std::string password_hash;  ///< argon2id in its encoded form, empty when none is set
  UserRole role = UserRole::Member;
  UserState state = UserState::Active;
  WallTime created_at;
  bool operator==(const UserRecord&) const = default;
};
struct GroupRecord {
  model::GroupId id;
  std::string name;
  bool everyone = false;  ///< the system group that holds every active user
  bool operator==(const GroupRecord&) const = default;
};
struct MembershipRecord {
  model::GroupId group;
  model::UserId user;
  auto operator<=>(const MembershipRecord&) const = default;
};
struct RemoteNetworkRecord {
  model::RemoteNetworkId id;
  std::string name;
  bool operator==(const RemoteNetworkRecord&) const = default;
};
struct ConnectorRecord {
  model::ConnectorId id;
  model::RemoteNetworkId remote_network;
  std::string name;
  std::uint32_t instances_max = 2;
  std::uint64_t token_generation = 0;  ///< 0: no tokens yet; grows when they are regenerated
  Digest refresh_token_digest{};
  bool operator==(const ConnectorRecord&) const = default;
};
/// One process of a connector that has enrolled its key.
struct InstanceRecord {
  model::InstanceId id;
  model::ConnectorId connector;
  std::uint64_t token_generation = 0;
  Bytes public_key;  ///< DER SPKI
  std::string hostname;
  WallTime enrolled_at;
  bool draining = false;  ///< new flows go to other instances, if there are any
  bool operator==(const InstanceRecord&) const = default;
};
struct DeviceRecord {
  model::DeviceId id;
  model::UserId user;
  std::string name;
  Bytes public_key;  ///< DER SPKI
  WallTime enrolled_at;
  WallTime signed_in_until;  ///< after this the person signs in again
  bool operator==(const DeviceRecord&) const = default;
};
struct ResourceRecord {
  model::Resource resource;
  bool operator==(const ResourceRecord&) const = default;
};
/// Who may reach a resource: exactly one of group and user is set.
struct AccessRecord {
  model::ResourceId resource;
  model::GroupId group;
  model::UserId user;
  auto operator<=>(const AccessRecord&) const = default;
};
/// See wire Revocation: exactly one of user and device and key is set; `resource` narrows user and device to an edge.
struct RevocationRecord {
  std::uint64_t id = 0;
  model::UserId user;
  model::DeviceId device;
  Digest key{};
  model::ResourceId resource;
  std::uint64_t min_policy_version = 0;
  WallTime expires_at;
  bool operator==(const RevocationRecord&) const = default;
};
/// A secret sealed under the master key (AES-256-GCM, AAD = network ‖ "secret" ‖ name): signing, relay and CA keys.
struct SecretRecord {
  std::string name;
  Bytes sealed;
  bool operator==(const SecretRecord&) const = default;
};
/// Names of the secrets of a user: an unused link that sets a password, and the second factors. They go with the user.
[[nodiscard]] inline std::string setup_link_secret(model::UserId user) {
  return "setup-link:" + std::to_string(user.value);
}
[[nodiscard]] inline std::string factors_secret(model::UserId user) {
  return "factors:" + std::to_string(user.value);
}

/// A relay in a process of its own (PROTOCOL.md §6.1).
struct RelayRecord {
  model::RelayId id;
  std::string name;
  std::vector<std::string> addresses;  ///< "203.0.113.10:443", "relay.example.org:443": as agents reach it
  Digest token_digest{};
  Bytes public_key;  ///< DER SPKI; empty until one has enrolled with the token
  std::string hostname;
  WallTime enrolled_at;
  bool operator==(const RelayRecord&) const = default;
};
/// A route that no relay takes any more, whatever ticket names it.
struct RevokedRouteRecord {
  RouteId route;
  WallTime expires_at;  ///< when the last ticket that names it has ended
  bool operator==(const RevokedRouteRecord&) const = default;
};

using Record = std::variant<NetworkRecord, UserRecord, GroupRecord, MembershipRecord, RemoteNetworkRecord,
                            ConnectorRecord, InstanceRecord, DeviceRecord, ResourceRecord, AccessRecord,
                            RevocationRecord, SecretRecord, RelayRecord, RevokedRouteRecord>;

struct Upsert {
  Record record;
};
/// Deletes the record with the same key as `record`.
struct Remove {
  Record record;
};
using Change = std::variant<Upsert, Remove>;

/// Who did what: every change has one (DESIGN §8). `before` and `after` are JSON of the record, without secrets.
struct AuditEntry {
  WallTime at;
  std::string actor;    ///< "admin:local", "user:7", "connector:3"
  std::string origin;   ///< address or "admin socket"
  std::string action;   ///< "resource.create"
  std::string subject;  ///< "resource:12"
  std::string before;
  std::string after;
};

struct ChangeSet {
  std::vector<Change> changes;
  std::vector<AuditEntry> audit;
};

}  // namespace postern::controller
