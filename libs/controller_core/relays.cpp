#include "controller_core/relays.hpp"

namespace postern::controller {

bool RelayBook::set(const RelayEndpoint& relay) {
  const auto found = relays_.find(relay.name);
  if (found != relays_.end()) {
    const RelayEndpoint& known = found->second;
    if (known.epoch == relay.epoch && known.addresses == relay.addresses && known.seal_key == relay.seal_key &&
        known.key_digest == relay.key_digest) {
      return false;
    }
  }
  relays_[relay.name] = relay;
  return true;
}

bool RelayBook::erase(std::string_view name) {
  const auto found = relays_.find(name);
  if (found == relays_.end()) return false;
  relays_.erase(found);
  return true;
}

const RelayEndpoint* RelayBook::find(std::string_view name) const {
  const auto found = relays_.find(name);
  return found == relays_.end() ? nullptr : &found->second;
}

wire::RelayInfo RelayBook::info(const RelayEndpoint& relay, const TicketHolder& holder) {
  identity::RelayTicket ticket;
  ticket.network_id = holder.network.value;
  ticket.route = holder.route;
  ticket.role = holder.role;
  ticket.mac_key = random_.make<std::array<std::uint8_t, 32>>();
  ticket.not_before = to_unix_seconds(holder.not_before);
  ticket.lifetime_s = static_cast<std::uint32_t>(
      std::max<std::int64_t>(0, to_unix_seconds(holder.expires_at) - to_unix_seconds(holder.not_before)));
  const Bytes sealed = identity::seal_ticket(ticket, relay.seal_key, relay.name, random_);

  wire::RelayInfo info;
  info.set_name(relay.name);
  for (const SocketAddress& address : relay.addresses) info.add_addresses(address.to_string());
  info.set_epoch(relay.epoch);
  info.set_access_token(std::string(as_text(sealed)));
  info.set_mac_key(std::string(as_text(ticket.mac_key)));
  info.set_expires_at_ms(to_unix_ms(holder.expires_at));
  info.set_tls(true);
  if (relay.key_digest) info.set_tls_key_digest(std::string(as_text(*relay.key_digest)));
  return info;
}

identity::SealKey relay_seal_key(ByteView knock_secret, const RelayRecord& relay) {
  Bytes input = to_bytes(as_bytes("postern-relay-seal"));
  std::array<std::uint8_t, 8> id{};
  ByteWriter(id).u64(relay.id.value);
  input.insert(input.end(), id.begin(), id.end());
  const Digest key = identity::sha256(relay.public_key);
  input.insert(input.end(), key.begin(), key.end());
  return identity::hmac_sha256(knock_secret, input);
}

}  // namespace postern::controller
