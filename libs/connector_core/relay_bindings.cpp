#include "connector_core/relay_bindings.hpp"

#include <algorithm>
#include <set>

#include "base/link_address.hpp"
#include "identity/keys.hpp"

namespace postern::connector {
namespace {

/// An address that does not answer for this long is left for the relay's next one (IPv6 without a route, say).
constexpr Duration kAddressPatience = std::chrono::seconds(3);
constexpr std::uint16_t kBindSuccess = 0x0360;  // PROTOCOL.md §3.2

std::vector<SocketAddress> parse_addresses(const wire::RelayInfo& info) {
  std::vector<SocketAddress> addresses;
  for (const std::string& text : info.addresses()) {
    if (const auto address = SocketAddress::parse(text)) addresses.push_back(*address);
  }
  return addresses;
}

std::optional<wire::BindTicket> parse_ticket(const wire::RelayInfo& info) {
  wire::BindTicket ticket;
  if (info.mac_key().size() != ticket.mac_key.size() || info.access_token().empty()) return std::nullopt;
  ticket.access_token = to_bytes(as_bytes(info.access_token()));
  std::ranges::copy(as_bytes(info.mac_key()), ticket.mac_key.begin());
  return ticket;
}

std::optional<Digest> parse_key_digest(const wire::RelayInfo& info) {
  Digest digest{};
  if (info.tls_key_digest().size() != digest.size()) return std::nullopt;
  std::ranges::copy(as_bytes(info.tls_key_digest()), digest.begin());
  return digest;
}

template <typename... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};

}  // namespace

RelayBindings::RelayBindings(RandomSource& random, Callbacks callbacks)
    : random_(random), callbacks_(std::move(callbacks)) {}

void RelayBindings::set_wall_offset(Duration wall_offset) {
  wall_offset_ = wall_offset;
  for (auto& [name, relay] : relays_) relay.client->set_wall_offset(wall_offset);
}

void RelayBindings::replace(Instant now, const google::protobuf::RepeatedPtrField<wire::RelayInfo>& relays) {
  std::set<std::string> keep;
  for (const wire::RelayInfo& info : relays) keep.insert(info.name());
  std::erase_if(relays_,
                [&](const auto& entry) { return !keep.contains(entry.first) && !entry.second.client->is_bound(now); });
  for (auto& [name, relay] : relays_) {
    if (!keep.contains(name) && !relay.unlisted_until) relay.unlisted_until = now + kUnlistedTime;
  }
  for (const wire::RelayInfo& info : relays) upsert(now, info, wire::RebindReason::ControlReturned);
}

void RelayBindings::update(Instant now, const wire::RelayInfo& relay) {
  upsert(now, relay, wire::RebindReason::RelayRestarted);
}

void RelayBindings::remove(Instant now, const std::string& name) {
  if (relays_.erase(name) == 0) return;
  callbacks_.changed();
  const auto others = bound(now);
  if (!others.empty()) callbacks_.proven(others.front().address);
}

void RelayBindings::upsert(Instant now, const wire::RelayInfo& info, wire::RebindReason reason) {
  auto addresses = parse_addresses(info);
  auto ticket = parse_ticket(info);
  const auto found = relays_.find(info.name());
  if (addresses.empty() || !ticket || (found == relays_.end() && relays_.size() >= kRelaysMax)) {
    return callbacks_.note({RelayNote::Kind::Unusable, info.name()});
  }
  Relay& relay = found != relays_.end() ? found->second : relays_[info.name()];
  if (!relay.client || relay.addresses != addresses) {
    relay.addresses = std::move(addresses);
    relay.address = 0;
    relay.tried_since = now;
    if (relay.client) relay.client->set_relay(now, relay.addresses.front());
  }
  relay.key_digest = parse_key_digest(info);
  if (!relay.client) {
    const wire::BindClientConfig config{relay.addresses.front(), *ticket, identity::hmac_sha256, wall_offset_};
    relay.client.emplace(config, info.tls() ? std::optional(link_address(++links_)) : std::nullopt, random_, now);
    relay.used = relay.client->relay();
  } else {
    relay.proof_wanted = true;
    relay.client->set_ticket(now, *ticket);
    relay.client->rebind_now(now, relay.epoch == info.epoch() ? reason : wire::RebindReason::RelayRestarted);
  }
  relay.client->set_addresses(relay.addresses);
  relay.epoch = info.epoch();
  relay.unlisted_until.reset();
  pump(now, info.name(), relay);
}

void RelayBindings::rebind_all(Instant now, wire::RebindReason reason) {
  for (auto& [name, relay] : relays_) {
    relay.proof_wanted = true;
    relay.client->rebind_now(now, reason);
    pump(now, name, relay);
  }
}

bool RelayBindings::handle_datagram(Instant now, const SocketAddress& from, ByteView datagram) {
  for (auto& [name, relay] : relays_) {
    if (!relay.client->is_relay(from)) continue;
    const bool taken = relay.client->handle_datagram(now, from, datagram);
    pump(now, name, relay);
    // A binding that never lapsed tells of no event when it is made again at a relay that was restarted in between.
    const bool success = datagram.size() >= 2 && load_u16(datagram.data()) == kBindSuccess;
    if (taken && success && relay.proof_wanted && relay.client->is_bound(now)) {
      relay.proof_wanted = false;
      callbacks_.proven(relay.client->relay());
    }
    return taken;
  }
  return false;
}

bool RelayBindings::is_relay(const SocketAddress& address) const {
  return std::ranges::any_of(relays_, [&](const auto& entry) { return entry.second.client->is_relay(address); });
}

bool RelayBindings::is_in_use(const SocketAddress& address) const {
  return std::ranges::any_of(relays_, [&](const auto& entry) { return entry.second.client->relay() == address; });
}

void RelayBindings::note_sent(Instant now, const SocketAddress& to) {
  for (auto& [name, relay] : relays_) {
    if (relay.client->relay() == to) relay.client->note_sent(now);
  }
}

void RelayBindings::note_received(Instant now, const SocketAddress& from) {
  for (auto& [name, relay] : relays_) {
    if (relay.client->relay() == from) relay.client->note_received(now);
  }
}

void RelayBindings::set_busy(bool busy) {
  for (auto& [name, relay] : relays_) relay.client->set_busy(busy);
}

std::vector<wire::WantedLink> RelayBindings::wanted_links() const {
  std::vector<wire::WantedLink> wanted;
  for (const auto& [name, relay] : relays_) {
    auto link = relay.client->wanted_link();
    if (!link) continue;
    link->relay = name;
    link->key_digest = relay.key_digest;
    wanted.push_back(std::move(*link));
  }
  return wanted;
}

void RelayBindings::handle_link_open(Instant now, const SocketAddress& link) {
  for (auto& [name, relay] : relays_) {
    const auto wanted = relay.client->wanted_link();
    if (!wanted || wanted->link != link) continue;
    relay.client->handle_link_open(now);
    pump(now, name, relay);
  }
}

void RelayBindings::handle_link_closed(Instant now, const SocketAddress& link, const std::string& reason) {
  for (auto& [name, relay] : relays_) {
    const auto wanted = relay.client->wanted_link();
    if (!wanted || wanted->link != link) continue;
    relay.client->handle_link_closed(now, reason);
    pump(now, name, relay);
  }
}

void RelayBindings::handle_timeout(Instant now) {
  for (auto& [name, relay] : relays_) {
    if (relay.client->next_timeout() <= now) {
      relay.client->handle_timeout(now);
      if (!relay.client->is_bound(now)) try_next_address(now, relay);
    }
    pump(now, name, relay);
  }
  drop_unlisted(now);
}

void RelayBindings::drop_unlisted(Instant now) {
  std::vector<std::string> over;
  for (const auto& [name, relay] : relays_) {
    if (relay.unlisted_until && now >= *relay.unlisted_until) over.push_back(name);
  }
  for (const std::string& name : over) remove(now, name);
}

void RelayBindings::try_next_address(Instant now, Relay& relay) {
  if (relay.addresses.size() < 2 || now - relay.tried_since < kAddressPatience) return;
  relay.address = (relay.address + 1) % relay.addresses.size();
  relay.tried_since = now;
  relay.client->set_relay(now, relay.addresses[relay.address]);
}

std::optional<Instant> RelayBindings::next_timeout() const {
  std::optional<Instant> earliest;
  for (const auto& [name, relay] : relays_) {
    const Instant own = relay.client->next_timeout();
    const Instant at = relay.unlisted_until ? std::min(own, *relay.unlisted_until) : own;
    earliest = std::min(earliest.value_or(at), at);
  }
  return earliest;
}

void RelayBindings::pump(Instant now, const std::string& name, Relay& relay) {
  while (const auto event = relay.client->poll_event()) handle_event(now, name, relay, *event);
  while (const auto outgoing = relay.client->poll_transmit()) callbacks_.send(outgoing->to, outgoing->datagram);
  const bool bound = relay.client->is_bound(now);
  if (bound && is_link_address(relay.used) != relay.client->is_over_link()) {
    const auto kind = relay.client->is_over_link() ? RelayNote::Kind::OverLink : RelayNote::Kind::OverUdp;
    callbacks_.note({kind, name, relay.client->udp_address().to_string()});
    callbacks_.changed();
  }
  if (bound) relay.used = relay.client->relay();
  if (bound == relay.was_bound) return;
  relay.was_bound = bound;
  callbacks_.changed();
}

void RelayBindings::handle_event(Instant now, const std::string& name, Relay& relay, const wire::BindEvent& event) {
  std::visit(Overloaded{
                 [&](const wire::BindingProven& e) {
                   callbacks_.note({RelayNote::Kind::Bound, name, e.mapped.to_string()});
                   callbacks_.proven(relay.client->relay());
                 },
                 [&](const wire::MappedAddressChanged& e) {
                   callbacks_.note({RelayNote::Kind::AddressMoved, name, e.mapped.to_string()});
                   callbacks_.proven(relay.client->relay());
                 },
                 [&](const wire::BindingLost&) {
                   callbacks_.note({RelayNote::Kind::Silent, name});
                   relay.tried_since = now;
                 },
                 [&](const wire::BindRefused& e) {
                   callbacks_.note({RelayNote::Kind::Refuses, name, std::to_string(e.code)});
                   if (e.code == 403) callbacks_.ticket_refused();
                 },
                 [](const wire::PeerUnbound&) {},  // a hint only; the client's own binding is its business
             },
             event);
}

std::vector<RelayBindings::Bound> RelayBindings::bound(Instant now) const {
  std::vector<Bound> bound;
  for (const auto& [name, relay] : relays_) {
    if (relay.client->is_bound(now)) {
      bound.push_back({name, relay.client->relay(), relay.client->udp_address(), relay.client->is_over_link()});
    }
  }
  return bound;
}

std::vector<std::string> RelayBindings::bound_names(Instant now) const {
  std::vector<std::string> names;
  for (Bound& relay : bound(now)) names.push_back(std::move(relay.name));
  return names;
}

std::vector<SocketAddress> RelayBindings::mapped(Instant now) const {
  std::vector<SocketAddress> mapped;
  for (const auto& [name, relay] : relays_) {
    const auto address = relay.client->mapped_address();
    if (address && relay.client->is_bound(now)) mapped.push_back(*address);
  }
  return mapped;
}

}  // namespace postern::connector
