#include "controller_core/audit_text.hpp"

#include "identity/json.hpp"
#include "identity/keys.hpp"

namespace postern::controller {

using identity::json::Array;
using identity::json::Object;
using identity::json::write;

namespace {

/// Ids are strings in all our JSON: readers of 64-bit numbers disagree above 2^53.
template <typename Id>
std::string text(Id id) {
  return std::to_string(id.value);
}

std::string digest_text(const Bytes& public_key) {
  return to_base64url(identity::sha256(public_key));
}

}  // namespace

std::string subject(const char* kind, std::uint64_t id) {
  return std::string(kind) + ':' + std::to_string(id);
}

std::string audit_text(const UserRecord& record) {
  return write(Object{{"id", text(record.id)},
                      {"email", record.email},
                      {"role", record.role == UserRole::Admin ? "admin" : "member"},
                      {"state", record.state == UserState::Active ? "active" : "disabled"},
                      {"password", !record.password_hash.empty()}});
}

std::string audit_text(const GroupRecord& record) {
  return write(Object{{"id", text(record.id)}, {"name", record.name}});
}

std::string audit_text(const MembershipRecord& record) {
  return write(Object{{"group", text(record.group)}, {"user", text(record.user)}});
}

std::string audit_text(const RemoteNetworkRecord& record) {
  return write(Object{{"id", text(record.id)}, {"name", record.name}});
}

std::string audit_text(const ConnectorRecord& record) {
  return write(Object{{"id", text(record.id)},
                      {"name", record.name},
                      {"remote_network", text(record.remote_network)},
                      {"instances_max", record.instances_max},
                      {"token_generation", record.token_generation}});
}

std::string audit_text(const InstanceRecord& record) {
  return write(Object{{"id", text(record.id)},
                      {"connector", text(record.connector)},
                      {"token_generation", record.token_generation},
                      {"hostname", record.hostname},
                      {"key_digest", digest_text(record.public_key)}});
}

std::string audit_text(const DeviceRecord& record) {
  return write(Object{{"id", text(record.id)},
                      {"user", text(record.user)},
                      {"name", record.name},
                      {"key_digest", digest_text(record.public_key)},
                      {"signed_in_until", to_unix_seconds(record.signed_in_until)}});
}

std::string audit_text(const model::Resource& record) {
  Array aliases;
  for (const auto& alias : record.aliases) aliases.emplace_back(alias.text());
  return write(Object{{"id", text(record.id)},
                      {"name", record.name},
                      {"remote_network", text(record.remote_network)},
                      {"address", record.address.text()},
                      {"aliases", std::move(aliases)},
                      {"tcp", record.tcp.text()},
                      {"udp", record.udp.text()},
                      {"icmp", record.allow_icmp}});
}

std::string audit_text(const AccessRecord& record) {
  if (record.group.value != 0) return write(Object{{"resource", text(record.resource)}, {"group", text(record.group)}});
  return write(Object{{"resource", text(record.resource)}, {"user", text(record.user)}});
}

}  // namespace postern::controller
