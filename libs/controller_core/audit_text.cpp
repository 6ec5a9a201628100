#include "controller_core/audit_text.hpp"

#include "base/json.hpp"
#include "identity/keys.hpp"

namespace postern::controller {

using json::Array;

namespace {

/// Members are made in place: g++ 12 with sanitizers takes a temporary Value for uninitialized memory.
class Fields {
 public:
  template <typename T>
  Fields& add(const char* name, T value) {
    object_.emplace_back(name, std::move(value));
    return *this;
  }
  [[nodiscard]] std::string text() const { return json::write(object_); }

 private:
  json::Object object_;
};

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
  return Fields()
      .add("id", text(record.id))
      .add("email", record.email)
      .add("role", record.role == UserRole::Admin ? "admin" : "member")
      .add("state", record.state == UserState::Active ? "active" : "disabled")
      .add("password", !record.password_hash.empty())
      .text();
}

std::string audit_text(const GroupRecord& record) {
  return Fields().add("id", text(record.id)).add("name", record.name).text();
}

std::string audit_text(const MembershipRecord& record) {
  return Fields().add("group", text(record.group)).add("user", text(record.user)).text();
}

std::string audit_text(const RemoteNetworkRecord& record) {
  return Fields().add("id", text(record.id)).add("name", record.name).text();
}

std::string audit_text(const ConnectorRecord& record) {
  return Fields()
      .add("id", text(record.id))
      .add("name", record.name)
      .add("remote_network", text(record.remote_network))
      .add("instances_max", record.instances_max)
      .add("token_generation", record.token_generation)
      .text();
}

std::string audit_text(const InstanceRecord& record) {
  return Fields()
      .add("id", text(record.id))
      .add("connector", text(record.connector))
      .add("token_generation", record.token_generation)
      .add("hostname", record.hostname)
      .add("key_digest", digest_text(record.public_key))
      .add("draining", record.draining)
      .text();
}

std::string audit_text(const DeviceRecord& record) {
  return Fields()
      .add("id", text(record.id))
      .add("user", text(record.user))
      .add("name", record.name)
      .add("key_digest", digest_text(record.public_key))
      .add("signed_in_until", to_unix_seconds(record.signed_in_until))
      .text();
}

std::string audit_text(const model::Resource& record) {
  Array aliases;
  for (const auto& alias : record.aliases) aliases.emplace_back(alias.text());
  return Fields()
      .add("id", text(record.id))
      .add("name", record.name)
      .add("remote_network", text(record.remote_network))
      .add("address", record.address.text())
      .add("aliases", std::move(aliases))
      .add("tcp", record.tcp.text())
      .add("udp", record.udp.text())
      .add("icmp", record.allow_icmp)
      .add("bypass", record.is_bypass())
      .add("priority", std::to_string(record.priority))
      .text();
}

std::string audit_text(const AccessRecord& record) {
  Fields fields;
  fields.add("resource", text(record.resource));
  if (record.group.value != 0) return fields.add("group", text(record.group)).text();
  return fields.add("user", text(record.user)).text();
}

std::string audit_text(const RelayRecord& record) {
  Array addresses;
  for (const std::string& address : record.addresses) addresses.emplace_back(address);
  Fields fields;
  fields.add("id", text(record.id)).add("name", record.name).add("addresses", std::move(addresses));
  if (record.public_key.empty()) return fields.text();
  return fields.add("hostname", record.hostname).add("key_digest", digest_text(record.public_key)).text();
}

}  // namespace postern::controller
