// The simulated Internet: local networks with a link each, some of them behind a NAT box, and hosts with one UDP port.
//
// A datagram crosses the sender's link and the receiver's. Each may be slow, lose, double, reorder, refuse what is too
// large, or be down. Neighbours of one train that arrive together arrive as one train, as GRO would have it.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/bytes.hpp"
#include "sim/nat.hpp"
#include "sim/timeline.hpp"

namespace postern::sim {

struct LinkOptions {
  Duration delay = std::chrono::milliseconds(5);
  Duration jitter{};
  unsigned loss_per_mille = 0;
  unsigned duplicate_per_mille = 0;
  std::size_t mtu = 1472;  ///< of a datagram; larger ones vanish
  bool up = true;
};

struct LanOptions {
  NatKind nat = NatKind::None;
  bool v4 = true;
  bool v6 = false;
  Duration mapping_life = std::chrono::seconds(60);
  LinkOptions link;
};

using LanId = std::size_t;
using HostId = std::size_t;

class Network {
 public:
  using Receiver = std::function<void(const SocketAddress& from, MutableBytes bytes, std::size_t stride)>;

  Network(Timeline& time, SeededRandom& random, Trace& trace) : time_(time), random_(random), trace_(trace) {}

  [[nodiscard]] LanId add_lan(const LanOptions& options);
  [[nodiscard]] HostId add_host(LanId lan, std::uint16_t port, Receiver receiver);
  /// The host gets new addresses; its socket stays.
  void move(HostId host, LanId lan);
  void set_host_up(HostId host, bool up) { hosts_[host].up = up; }
  [[nodiscard]] bool is_host_up(HostId host) const { return hosts_[host].up; }
  [[nodiscard]] LanId lan_of(HostId host) const { return hosts_[host].lan; }
  [[nodiscard]] LinkOptions& link(LanId lan) { return lans_[lan].options.link; }
  [[nodiscard]] const LanOptions& options(LanId lan) const { return lans_[lan].options; }
  [[nodiscard]] std::size_t lan_count() const { return lans_.size(); }
  /// The box forgets its mappings, and with them the connections through it.
  void reboot_nat(LanId lan);
  /// Where a host is reached (of hosts without NAT), IPv4 first.
  [[nodiscard]] std::vector<SocketAddress> addresses(HostId host) const;

  void send(HostId from, const SocketAddress& to, ByteView bytes, std::size_t stride);

  /// Whether packets pass between two hosts now, of which `to` is public.
  [[nodiscard]] bool is_connected(HostId from, HostId to) const;
  [[nodiscard]] Duration delay(HostId from, HostId to) const;
  /// Changes when connections of this host die: it moved, or its NAT box forgot them.
  [[nodiscard]] std::uint64_t place(HostId host) const { return hosts_[host].moves + lans_[hosts_[host].lan].reboots; }

  std::uint64_t datagrams = 0;
  std::uint64_t dropped = 0;

 private:
  struct Lan {
    LanOptions options;
    std::unique_ptr<Nat> nat;
    IpAddress outside;
    std::uint8_t hosts = 0;
    std::uint64_t reboots = 0;
  };
  struct Host {
    LanId lan = 0;
    std::uint16_t port = 0;
    IpAddress v4;
    IpAddress v6;
    Receiver receiver;
    bool up = true;
    std::uint64_t moves = 0;
  };
  struct Flight {
    SocketAddress from;  ///< as the receiver will see it
    SocketAddress to;
    Bytes bytes;
    std::size_t stride = 0;
  };

  void give_addresses(HostId host);
  [[nodiscard]] bool survives(const LinkOptions& link, std::size_t size);
  void launch(const LinkOptions& link, Flight flight);
  void arrive(Flight& flight);
  [[nodiscard]] Host* find_public(const SocketAddress& to);
  [[nodiscard]] Host* find_inside(const SocketAddress& from, const SocketAddress& to);

  Timeline& time_;
  SeededRandom& random_;
  Trace& trace_;
  std::vector<Lan> lans_;
  std::vector<Host> hosts_;
};

}  // namespace postern::sim
