#include "sim/network.hpp"

#include <algorithm>

namespace postern::sim {

LanId Network::add_lan(const LanOptions& options) {
  const LanId id = lans_.size();
  Lan lan{options, nullptr, IpAddress::v4(203, 0, static_cast<std::uint8_t>(100 + id), 1), 0, 0};
  if (options.nat != NatKind::None) {
    lan.nat = std::make_unique<Nat>(options.nat, lan.outside, options.mapping_life, random_);
  }
  lans_.push_back(std::move(lan));
  return id;
}

HostId Network::add_host(LanId lan, std::uint16_t port, Receiver receiver) {
  hosts_.push_back({lan, port, {}, {}, std::move(receiver), true, 0});
  give_addresses(hosts_.size() - 1);
  return hosts_.size() - 1;
}

void Network::give_addresses(HostId id) {
  Host& host = hosts_[id];
  Lan& lan = lans_[host.lan];
  const std::uint8_t number = ++lan.hosts;
  const auto lan_number = static_cast<std::uint8_t>(100 + host.lan);
  host.v4 = lan.nat ? IpAddress::v4(10, lan_number, 0, static_cast<std::uint8_t>(number + 1))
                    : IpAddress::v4(203, 0, lan_number, static_cast<std::uint8_t>(number + 1));
  const std::string text = "2001:db8:" + std::to_string(lan_number) + "::" + std::to_string(number + 1);
  host.v6 = *IpAddress::parse(text);
}

void Network::move(HostId host, LanId lan) {
  hosts_[host].lan = lan;
  hosts_[host].moves += 1'000'000;  // so that the sum with reboots never comes back
  give_addresses(host);
}

void Network::reboot_nat(LanId lan) {
  ++lans_[lan].reboots;
  if (lans_[lan].nat) lans_[lan].nat->forget();
}

std::vector<SocketAddress> Network::addresses(HostId id) const {
  const Host& host = hosts_[id];
  const LanOptions& options = lans_[host.lan].options;
  std::vector<SocketAddress> all;
  if (options.v4) all.push_back({host.v4, host.port});
  if (options.v6) all.push_back({host.v6, host.port});
  return all;
}

bool Network::survives(const LinkOptions& link, std::size_t size) {
  return link.up && size <= link.mtu && random_.below(1000) >= link.loss_per_mille;
}

void Network::send(HostId id, const SocketAddress& to, ByteView bytes, std::size_t stride) {
  Host& host = hosts_[id];
  Lan& lan = lans_[host.lan];
  if (stride == 0) stride = std::max<std::size_t>(bytes.size(), 1);
  if (!host.up || (to.ip.is_v4() ? !lan.options.v4 : !lan.options.v6)) {
    ++dropped;
    return;
  }
  SocketAddress from{to.ip.is_v4() ? host.v4 : host.v6, host.port};
  if (lan.nat && to.ip.is_v4()) from = lan.nat->outbound(time_.now(), from, to);
  Flight train{from, to, {}, stride};
  for (std::size_t at = 0; at < bytes.size(); at += stride) {
    const ByteView one = bytes.subspan(at, std::min(stride, bytes.size() - at));
    ++datagrams;
    trace_.add(to_nanoseconds(time_.now()) ^ (one.size() << 40) ^ to.port ^ (std::uint64_t{one[0]} << 56));
    if (!survives(lan.options.link, one.size())) {
      ++dropped;
      continue;
    }
    if (lan.options.link.jitter > Duration::zero()) {
      launch(lan.options.link, {from, to, to_bytes(one), one.size()});
    } else {
      train.bytes.insert(train.bytes.end(), one.begin(), one.end());
      if (one.size() < stride) break;
    }
    if (random_.below(1000) < lan.options.link.duplicate_per_mille) {
      launch(lan.options.link, {from, to, to_bytes(one), one.size()});
    }
  }
  if (!train.bytes.empty()) launch(lan.options.link, std::move(train));
}

void Network::launch(const LinkOptions& link, Flight flight) {
  const auto extra = random_.below(static_cast<std::uint64_t>(link.jitter.count()) + 1);
  time_.after(link.delay + Duration(static_cast<Duration::rep>(extra)),
              [this, flight = std::move(flight)]() mutable { arrive(flight); });
}

Network::Host* Network::find_public(const SocketAddress& to) {
  const auto found = std::ranges::find_if(hosts_, [&](const Host& host) {
    const Lan& lan = lans_[host.lan];
    if (host.port != to.port || (to.ip.is_v4() && lan.nat)) return false;
    return to.ip.is_v4() ? lan.options.v4 && host.v4 == to.ip : lan.options.v6 && host.v6 == to.ip;
  });
  return found == hosts_.end() ? nullptr : &*found;
}

Network::Host* Network::find_inside(const SocketAddress& from, const SocketAddress& to) {
  const auto lan = std::ranges::find_if(lans_, [&](const Lan& each) { return each.nat && each.outside == to.ip; });
  if (lan == lans_.end()) return nullptr;
  const auto inside = lan->nat->inbound(time_.now(), from, to.port);
  if (!inside) return nullptr;
  const auto host = std::ranges::find_if(hosts_, [&](const Host& each) {
    return &lans_[each.lan] == &*lan && each.v4 == inside->ip && each.port == inside->port;
  });
  return host == hosts_.end() ? nullptr : &*host;
}

/// At the border of the receiver's network: one more link to cross.
void Network::arrive(Flight& flight) {
  Host* host = flight.to.ip.is_v4() ? find_inside(flight.from, flight.to) : nullptr;
  if (host == nullptr) host = find_public(flight.to);
  if (host == nullptr || !host->up) {
    ++dropped;
    return;
  }
  const LinkOptions& link = lans_[host->lan].options.link;
  Bytes kept;
  for (std::size_t at = 0; at < flight.bytes.size(); at += flight.stride) {
    const ByteView one = ByteView(flight.bytes).subspan(at, std::min(flight.stride, flight.bytes.size() - at));
    if (survives(link, one.size())) {
      kept.insert(kept.end(), one.begin(), one.end());
    } else {
      ++dropped;
    }
  }
  if (kept.empty()) return;
  const auto index = static_cast<HostId>(host - hosts_.data());
  const auto extra = random_.below(static_cast<std::uint64_t>(link.jitter.count()) + 1);
  time_.after(link.delay + Duration(static_cast<Duration::rep>(extra)),
              [this, index, place = place(index), from = flight.from, kept = std::move(kept),
               stride = flight.stride]() mutable {
                if (!hosts_[index].up || this->place(index) != place) return;
                hosts_[index].receiver(from, kept, stride);
              });
}

bool Network::is_connected(HostId from, HostId to) const {
  const Host& a = hosts_[from];
  const Host& b = hosts_[to];
  const LanOptions& one = lans_[a.lan].options;
  const LanOptions& other = lans_[b.lan].options;
  return a.up && b.up && one.link.up && other.link.up && ((one.v4 && other.v4) || (one.v6 && other.v6));
}

Duration Network::delay(HostId from, HostId to) const {
  return lans_[hosts_[from].lan].options.link.delay + lans_[hosts_[to].lan].options.link.delay;
}

}  // namespace postern::sim
