// Passes questions that are not ours on to the name servers that the host used before, and their answers back.
//
// Sans-IO: each try is a ticket that the owner serves with a socket of its own, so that the kernel draws a port, takes
// answers from that server only and reports a closed port. A try that fails or takes too long is followed by one at the
// next server. What comes back is passed on as it is (records, EDNS, truncation) but for its id.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "base/ip.hpp"
#include "base/random.hpp"
#include "base/strong_id.hpp"
#include "base/time.hpp"
#include "wire/dns.hpp"

namespace postern::resolver {

struct ForwarderLimits {
  /// At the bound a new question is answered with SERVFAIL.
  std::size_t outstanding_max = 256;
  Duration try_time = std::chrono::seconds(2);
  unsigned tries_max = 3;
};

/// One try at one server; never reused.
using Ticket = StrongId<struct DnsTicketTag>;
/// Whoever asked; the owner's own number.
using AskerId = StrongId<struct DnsAskerTag>;

struct UpstreamQuery {
  Ticket ticket;
  SocketAddress server;
  Bytes message;
  wire::DnsTransport transport = wire::DnsTransport::Udp;
};
struct UpstreamReply {
  AskerId asker;
  Bytes message;
};

enum class ForwarderCount : std::uint8_t { TableFull, TimedOut, ForeignAnswer, NoServer, kCount };

class Forwarder {
 public:
  /// `random` outlives the forwarder.
  explicit Forwarder(RandomSource& random, ForwarderLimits limits = {}) : random_(random), limits_(limits) {}

  void set_servers(std::vector<SocketAddress> servers) { servers_ = std::move(servers); }
  [[nodiscard]] const std::vector<SocketAddress>& servers() const { return servers_; }

  void submit(Instant now, AskerId asker, wire::DnsQuery query, ByteView message, wire::DnsTransport transport);
  void handle_answer(Ticket ticket, ByteView message);
  /// The server's port is closed or it cannot be reached.
  void handle_failure(Instant now, Ticket ticket);
  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Instant> next_timeout() const;

  [[nodiscard]] std::optional<UpstreamQuery> poll_query();
  [[nodiscard]] std::optional<UpstreamReply> poll_reply();
  /// Tickets whose socket can be closed.
  [[nodiscard]] std::optional<Ticket> poll_done();
  [[nodiscard]] const std::array<std::uint64_t, static_cast<std::size_t>(ForwarderCount::kCount)>& counts() const {
    return counts_;
  }

 private:
  struct Pending {
    AskerId asker;
    wire::DnsQuery query;
    Bytes message;
    wire::DnsTransport transport = wire::DnsTransport::Udp;
    std::uint16_t id = 0;
    unsigned tries = 0;
    Instant deadline;
  };

  void try_next(Instant now, Pending pending);
  void give_up(const Pending& pending);
  void count(ForwarderCount what) { ++counts_[static_cast<std::size_t>(what)]; }

  RandomSource& random_;
  ForwarderLimits limits_;
  std::vector<SocketAddress> servers_;
  /// In order of tickets, and as all tries take equally long, of deadlines.
  std::map<Ticket, Pending> pending_;
  std::uint64_t tickets_ = 0;
  std::deque<UpstreamQuery> queries_;
  std::deque<UpstreamReply> replies_;
  std::deque<Ticket> done_;
  std::array<std::uint64_t, static_cast<std::size_t>(ForwarderCount::kCount)> counts_{};
};

}  // namespace postern::resolver
