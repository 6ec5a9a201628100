#include "controller_core/leases.hpp"

#include "identity/keys.hpp"

namespace postern::controller {

WallTime lease_end(const LeaseTerms& terms, const DeviceRecord& device) {
  const WallTime full = terms.now + std::chrono::duration_cast<std::chrono::milliseconds>(terms.life);
  return std::min(full, device.signed_in_until);
}

HeldLease make_lease(const LeaseTerms& terms, const DeviceRecord& device, model::RemoteNetworkId remote_network,
                     std::set<model::ResourceId> resources) {
  HeldLease lease;
  lease.resources = std::move(resources);
  if (const auto* record = terms.model.remote_network(remote_network)) lease.remote_network_name = record->name;
  lease.expires_at = lease_end(terms, device);
  if (lease.expires_at < device.signed_in_until) lease.renew_at = terms.now + (lease.expires_at - terms.now) / 2;
  return lease;
}

wire::RemoteNetworkLease sign_lease(const LeaseTerms& terms, const DeviceRecord& device,
                                    model::RemoteNetworkId remote_network, const HeldLease& held) {
  identity::Lease lease;
  lease.issuer = terms.model.network().slug;
  lease.remote_network_id = remote_network.value;
  lease.user_id = device.user.value;
  lease.device_id = device.id.value;
  if (const UserRecord* user = terms.model.user(device.user)) lease.email = user->email;
  lease.device_key = identity::sha256(device.public_key);
  lease.policy_version = terms.model.network().policy_version;
  lease.issued_at = to_unix_seconds(terms.now);
  lease.expires_at = to_unix_seconds(held.expires_at);
  for (const model::ResourceId resource : held.resources) lease.resources.push_back({resource.value, lease.expires_at});

  wire::RemoteNetworkLease message;
  message.set_remote_network_id(remote_network.value);
  message.set_remote_network_name(held.remote_network_name);
  message.set_lease(identity::sign_lease(lease, terms.signing));
  message.set_expires_at_ms(to_unix_ms(held.expires_at));
  message.set_renew_at_ms(to_unix_ms(held.renew_at.value_or(held.expires_at)));
  return message;
}

}  // namespace postern::controller
