#include "client_core/relay_link.hpp"

#include <algorithm>

#include "base/link_address.hpp"

namespace postern::client {

namespace {

/// More addresses than a relay has in earnest.
constexpr std::size_t kAddressesMax = 16;
/// More relays than a Network has.
constexpr std::size_t kRelaysMax = 8;

std::vector<SocketAddress> parse_addresses(const wire::RelayInfo& relay) {
  std::vector<SocketAddress> addresses;
  for (const std::string& text : relay.addresses()) {
    const auto address = SocketAddress::parse(text);
    if (address && addresses.size() < kAddressesMax) addresses.push_back(*address);
  }
  return addresses;
}

std::optional<wire::BindTicket> parse_ticket(const wire::RelayInfo& relay) {
  wire::BindTicket ticket;
  if (relay.mac_key().size() != ticket.mac_key.size() || relay.access_token().empty()) return std::nullopt;
  ticket.access_token = to_bytes(as_bytes(relay.access_token()));
  std::ranges::copy(as_bytes(relay.mac_key()), ticket.mac_key.begin());
  return ticket;
}

std::optional<Digest> parse_key_digest(const wire::RelayInfo& relay) {
  Digest digest{};
  if (relay.tls_key_digest().size() != digest.size()) return std::nullopt;
  std::ranges::copy(as_bytes(relay.tls_key_digest()), digest.begin());
  return digest;
}

bool is_usable(const wire::RelayInfo& relay) {
  return parse_ticket(relay) && !parse_addresses(relay).empty();
}

}  // namespace

void RelayLink::know(const wire::RelayInfo& relay) {
  const auto known = std::ranges::find(relays_, relay.name(), &wire::RelayInfo::name);
  if (known != relays_.end()) {
    *known = relay;
  } else if (relays_.size() < kRelaysMax) {
    relays_.push_back(relay);
  }
}

/// The named ones, and the one in use while it works.
void RelayLink::know_all(Instant now, const std::vector<wire::RelayInfo>& relays) {
  const auto current = std::ranges::find(relays_, name_, &wire::RelayInfo::name);
  const auto in_use = current == relays_.end() ? std::nullopt : std::optional(*current);
  relays_.clear();
  for (const wire::RelayInfo& relay : relays) {
    if (is_usable(relay)) know(relay);
  }
  const bool is_named = std::ranges::find(relays_, name_, &wire::RelayInfo::name) != relays_.end();
  if (is_named || !in_use || !is_bound(now)) {
    unlisted_until_.reset();
    return;
  }
  know(*in_use);
  if (!unlisted_until_) unlisted_until_ = now + kUnlistedTime;
}

void RelayLink::list_addresses() {
  named_.clear();
  for (const wire::RelayInfo& relay : relays_) {
    for (const SocketAddress& address : parse_addresses(relay)) named_.push_back(address);
  }
}

void RelayLink::handle_relays(Instant now, Duration wall_offset, const std::vector<wire::RelayInfo>& relays) {
  wall_offset_ = wall_offset;
  if (std::ranges::none_of(relays, is_usable)) return;
  know_all(now, relays);
  list_addresses();
  // The one in use, if it is still named: sessions stay where they are.
  const auto current = std::ranges::find(relays_, name_, &wire::RelayInfo::name);
  adopt(now, current != relays_.end() ? *current : relays_.front());
  // One that is not named must answer soon, or the next one gets its turn.
  bind_->rebind_now(now, unlisted_until_ ? wire::RebindReason::PeerSilent : wire::RebindReason::ControlReturned);
}

void RelayLink::handle_relay_up(Instant now, Duration wall_offset, const wire::RelayInfo& relay) {
  if (!is_usable(relay)) return;
  wall_offset_ = wall_offset;
  know(relay);
  list_addresses();
  if (relay.name() == name_) unlisted_until_.reset();
  if (bind_ && relay.name() != name_ && bind_->is_bound(now)) return;
  const bool is_restart = relay.name() == name_ && relay.epoch() != epoch_;
  adopt(now, relay);
  if (is_restart) bind_->rebind_now(now, wire::RebindReason::RelayRestarted);
}

void RelayLink::handle_relay_down(Instant now, const std::string& name) {
  std::erase_if(relays_, [&](const wire::RelayInfo& relay) { return relay.name() == name; });
  list_addresses();
  if (name != name_) return;
  if (relays_.empty()) return clear();
  adopt(now, relays_.front());
}

void RelayLink::adopt(Instant now, const wire::RelayInfo& relay) {
  const auto addresses = parse_addresses(relay);
  const auto key_digest = parse_key_digest(relay);
  const bool is_other = relay.name() != name_ || relay.tls() != has_tls_ || key_digest != key_digest_;
  const bool has_moved = addresses != addresses_ || is_other;
  if (relay.name() != name_) unlisted_until_.reset();
  if (has_moved) {
    addresses_ = addresses;
    at_ = 0;
    address_deadline_ = now + kAddressTimeFirst;
    turns_ = 0;
  }
  const bool is_new_ticket = relay.access_token() != access_token_;
  name_ = relay.name();
  epoch_ = relay.epoch();
  access_token_ = relay.access_token();
  if (!bind_ || is_other) {
    adopted_ = now;
    has_tls_ = relay.tls();
    key_digest_ = key_digest;
    const wire::BindClientConfig config{addresses_[at_], *parse_ticket(relay), hmac_, wall_offset_,
                                        bind_ ? bind_->last_sequence() : 0};
    bind_.emplace(config, has_tls_ ? std::optional(link_address(++links_)) : std::nullopt, random_, now);
    bind_->set_addresses(addresses_);
    return;
  }
  bind_->set_wall_offset(wall_offset_);
  bind_->set_addresses(addresses_);
  if (is_new_ticket) bind_->set_ticket(now, *parse_ticket(relay));
  if (has_moved) bind_->set_relay(now, addresses_[at_]);
}

std::optional<wire::WantedLink> RelayLink::wanted_link() const {
  auto wanted = bind_ ? bind_->wanted_link() : std::nullopt;
  if (!wanted) return std::nullopt;
  wanted->relay = name_;
  wanted->key_digest = key_digest_;
  return wanted;
}

void RelayLink::handle_link_open(Instant now, const SocketAddress& link) {
  const auto wanted = wanted_link();
  if (wanted && wanted->link == link) bind_->handle_link_open(now);
}

void RelayLink::handle_link_closed(Instant now, const SocketAddress& link, const std::string& reason) {
  const auto wanted = wanted_link();
  if (wanted && wanted->link == link) bind_->handle_link_closed(now, reason);
}

void RelayLink::handle_network_change(Instant now) {
  if (bind_) bind_->rebind_now(now, wire::RebindReason::AddressChanged);
}

void RelayLink::handle_silent_peer(Instant now) {
  if (bind_) bind_->rebind_now(now, wire::RebindReason::PeerSilent);
}

void RelayLink::clear() {
  bind_.reset();
  relays_.clear();
  named_.clear();
  unlisted_until_.reset();
  addresses_.clear();
  name_.clear();
  access_token_.clear();
  epoch_ = 0;
}

bool RelayLink::handle_datagram(Instant now, const SocketAddress& from, ByteView datagram) {
  return bind_ && bind_->handle_datagram(now, from, datagram);
}

std::optional<wire::RelayBinding::Outgoing> RelayLink::poll_transmit() {
  return bind_ ? bind_->poll_transmit() : std::nullopt;
}

void RelayLink::handle_timeout(Instant now) {
  if (!bind_) return;
  bind_->handle_timeout(now);
  if (unlisted_until_ && now >= *unlisted_until_) return handle_relay_down(now, std::string(name_));
  if (!address_deadline_ || now < *address_deadline_) return;
  const bool leaves_relay = at_ + 1 >= addresses_.size() && relays_.size() > 1;
  if (leaves_relay && now < adopted_ + kLinkTime && bind_->wanted_link()) {
    address_deadline_ = adopted_ + kLinkTime;
    return;
  }
  const std::size_t turns = turns_ + 1;
  try_next(now);
  turns_ = turns;
  address_deadline_ = now + (turns < named_.size() ? kAddressTimeFirst : kAddressTime);
}

/// The next address of this relay, or the next relay after the last.
void RelayLink::try_next(Instant now) {
  if (at_ + 1 >= addresses_.size() && relays_.size() > 1) {
    const auto current = std::ranges::find(relays_, name_, &wire::RelayInfo::name);
    const auto next = current == relays_.end() || current + 1 == relays_.end() ? relays_.begin() : current + 1;
    return adopt(now, *next);
  }
  if (addresses_.size() < 2) return;
  at_ = (at_ + 1) % addresses_.size();
  bind_->set_relay(now, addresses_[at_]);
}

std::optional<Instant> RelayLink::next_timeout() const {
  if (!bind_) return std::nullopt;
  Instant next = bind_->next_timeout();
  if (address_deadline_) next = std::min(next, *address_deadline_);
  if (unlisted_until_) next = std::min(next, *unlisted_until_);
  return next;
}

RelayLink::Changes RelayLink::poll_changes(Instant now) {
  Changes changes;
  while (bind_) {
    const auto event = bind_->poll_event();
    if (!event) break;
    if (std::holds_alternative<wire::BindingProven>(*event)) changes.proven = true;
    if (std::holds_alternative<wire::BindingLost>(*event)) changes.lost = true;
    if (std::holds_alternative<wire::BindRefused>(*event)) changes.refused = true;
    if (const auto* unbound = std::get_if<wire::PeerUnbound>(&*event)) changes.unbound_peers.push_back(unbound->route);
  }
  if (changes.lost) address_deadline_ = now;  // it has been silent for long enough
  if (is_bound(now)) {
    address_deadline_.reset();
    turns_ = 0;
  }
  return changes;
}

std::optional<SocketAddress> RelayLink::address() const {
  return bind_ ? std::optional(bind_->relay()) : std::nullopt;
}

std::optional<SocketAddress> RelayLink::udp_address() const {
  return bind_ ? std::optional(bind_->udp_address()) : std::nullopt;
}

std::optional<RelayStatus> RelayLink::status(Instant now) const {
  if (!bind_) return std::nullopt;
  const std::string udp = bind_->udp_address().to_string();
  RelayStatus status{name_, udp, is_bound(now), bind_->round_trip(), "udp", ""};
  if (bind_->is_over_link()) {
    status.transport = "tls";
    status.why = "UDP to " + udp + " is not answered";
  }
  return status;
}

std::optional<Duration> RelayLink::round_trip() const {
  return bind_ ? bind_->round_trip() : std::nullopt;
}

}  // namespace postern::client
