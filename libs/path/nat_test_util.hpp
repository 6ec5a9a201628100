// A small internet of virtual time: hosts, NATs of every kind (RFC 4787), NATs behind NATs, one relay that tells each
// host how it looks from outside.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "path/checker.hpp"

namespace postern::path::test {

enum class Dependence : std::uint8_t { EndpointIndependent, AddressDependent, AddressAndPortDependent };

struct NatOptions {
  Dependence mapping = Dependence::EndpointIndependent;
  Dependence filtering = Dependence::AddressAndPortDependent;
  bool hairpin = false;
};

class Nat {
 public:
  Nat(Nat* behind, IpAddress address, NatOptions options) : parent(behind), outside(address), options_(options) {}

  Nat* const parent;  ///< null: the internet
  const IpAddress outside;

  /// How a packet from inside looks outside.
  SocketAddress out(const SocketAddress& from, const SocketAddress& to) {
    const Key key{from, options_.mapping >= Dependence::AddressDependent ? to.ip : IpAddress(),
                  options_.mapping == Dependence::AddressAndPortDependent ? to.port : std::uint16_t{0}};
    const auto [entry, is_new] = ports_.try_emplace(key, next_port_);
    if (is_new) {
      inside_[entry->second] = from;
      next_port_ = static_cast<std::uint16_t>(next_port_ + 7);
    }
    talked_[entry->second].push_back(to);
    return {outside, entry->second};
  }
  /// Who inside gets it; nothing when it is filtered.
  [[nodiscard]] std::optional<SocketAddress> in(const SocketAddress& from, std::uint16_t port) const {
    const auto host = inside_.find(port);
    if (host == inside_.end()) return std::nullopt;
    const auto& talked = talked_.at(port);
    const auto passes = [&](const SocketAddress& to) {
      return options_.filtering == Dependence::EndpointIndependent ||
             (to.ip == from.ip && (options_.filtering == Dependence::AddressDependent || to.port == from.port));
    };
    return std::ranges::any_of(talked, passes) ? std::optional(host->second) : std::nullopt;
  }
  [[nodiscard]] bool hairpin() const { return options_.hairpin; }

 private:
  using Key = std::tuple<SocketAddress, IpAddress, std::uint16_t>;
  NatOptions options_;
  std::uint16_t next_port_ = 20'000;
  std::map<Key, std::uint16_t> ports_;
  std::map<std::uint16_t, SocketAddress> inside_;
  std::map<std::uint16_t, std::vector<SocketAddress>> talked_;
};

inline Digest fake_hmac(ByteView key, ByteView message);

struct Host {
  Host(Nat* behind, SocketAddress own, const CheckKeys& keys, std::uint64_t seed)
      : nat(behind), address(own), random(seed), checker(keys, &fake_hmac, random) {
    local.port = address.port;
    local.interfaces.push_back({address.ip, address.ip.is_v4() ? 24U : 64U});
  }

  Nat* const nat;
  const SocketAddress address;
  SeededRandom random;
  Checker checker;
  LocalView local;
  bool udp_blocked = false;
  std::vector<RemoteProven> proven;
  bool round_ended = false;
  std::size_t datagrams_out = 0;
};

class Internet {
 public:
  static constexpr Duration kDelay = std::chrono::milliseconds(10);

  Nat* add_nat(Nat* parent, std::string_view outside, NatOptions options) {
    return nats_.emplace_back(std::make_unique<Nat>(parent, *IpAddress::parse(outside), options)).get();
  }
  Host* add_host(Nat* nat, std::string_view address, bool is_client) {
    const Digest client{1};
    const Digest connector{2};
    const CheckKeys keys =
        is_client ? make_check_keys(client, connector, Digest{9}) : make_check_keys(connector, client, Digest{9});
    Host* host =
        hosts_.emplace_back(std::make_unique<Host>(nat, *SocketAddress::parse(address), keys, hosts_.size() + 1)).get();
    learn_reflexive(*host);
    return host;
  }
  /// Both begin a round with what the other has; runs until both have ended it.
  void run_round(Host& a, Host& b, std::span<const IpPrefix> excluded = {}) {
    a.round_ended = b.round_ended = false;
    a.checker.start_round(now, checkable(a.local, gather(b.local), excluded));
    b.checker.start_round(now, checkable(b.local, gather(a.local), excluded));
    const Instant end = now + std::chrono::seconds(10);
    while (now < end && !(a.round_ended && b.round_ended && queue_.empty())) step();
  }
  void send(Host& host, const SocketAddress& to, Bytes datagram) {
    ++host.datagrams_out;
    if (!host.udp_blocked) carry(host.nat, host.address, to, std::move(datagram));
  }
  /// Moves on to whatever is next.
  void step() {
    for (const auto& host : hosts_) flush(*host);
    Instant next = now + std::chrono::seconds(1);
    if (!queue_.empty()) next = std::min(next, queue_.begin()->first);
    for (const auto& host : hosts_) next = std::min(next, host->checker.next_timeout().value_or(next));
    now = std::max(now, next);
    while (!queue_.empty() && queue_.begin()->first <= now) {
      const auto packet = queue_.extract(queue_.begin());
      auto& [host, from, datagram] = packet.mapped();
      const auto view = wire::StunView::parse(datagram);
      if (view && !host->udp_blocked) (void)host->checker.handle_message(now, from, *view);
    }
    for (const auto& host : hosts_) host->checker.handle_timeout(now);
  }

  Instant now{std::chrono::seconds(100)};

 private:
  void learn_reflexive(Host& host) {
    const SocketAddress relay = *SocketAddress::parse("192.0.2.1:443");
    SocketAddress seen = host.address;
    for (Nat* nat = host.nat; nat != nullptr; nat = nat->parent) seen = nat->out(seen, relay);
    if (seen != host.address) host.local.reflexive.push_back(seen);
  }
  void flush(Host& host) {
    while (auto transmit = host.checker.poll_transmit(now)) send(host, transmit->to, std::move(transmit->datagram));
    while (const auto event = host.checker.poll_event()) {
      if (const auto* proven = std::get_if<RemoteProven>(&*event)) host.proven.push_back(*proven);
      if (std::holds_alternative<RoundEnded>(*event)) host.round_ended = true;
    }
  }
  /// `level`: the NAT inside which the packet is; null on the internet.
  void carry(Nat* level, SocketAddress from, SocketAddress to, Bytes datagram) {
    for (;;) {
      for (const auto& host : hosts_) {
        if (host->nat != level || host->address != to) continue;
        queue_.emplace(now + kDelay, std::tuple(host.get(), from, std::move(datagram)));
        return;
      }
      Nat* inward = nullptr;
      for (const auto& nat : nats_) {
        if (nat->parent == level && nat->outside == to.ip) inward = nat.get();
      }
      if (inward == nullptr && level != nullptr) {
        from = level->out(from, to);
        inward = level->outside == to.ip && level->hairpin() ? level : nullptr;
        if (level->outside == to.ip && inward == nullptr) return;
        if (inward == nullptr) {
          level = level->parent;
          continue;
        }
      }
      if (inward == nullptr) return;
      const auto inside = inward->in(from, to.port);
      if (!inside) return;
      to = *inside;
      level = inward;
    }
  }

  std::vector<std::unique_ptr<Nat>> nats_;
  std::vector<std::unique_ptr<Host>> hosts_;
  std::multimap<Instant, std::tuple<Host*, SocketAddress, Bytes>> queue_;
};

/// Enough of a MAC for tests: every bit of key and message counts.
inline Digest fake_hmac(ByteView key, ByteView message) {
  std::uint64_t state = 0xcbf29ce484222325U;
  for (const ByteView bytes : {key, message, key}) {
    for (const std::uint8_t byte : bytes) state = (state ^ byte) * 0x100000001b3U;
  }
  SeededRandom random(state);
  return random.make<Digest>();
}

}  // namespace postern::path::test
