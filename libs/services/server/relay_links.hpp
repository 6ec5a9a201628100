// The links of a relay: each WebSocket connection under an address of its own (PROTOCOL.md §3.6).
//
// A link proves nothing by itself: whoever is behind it binds as over UDP. Until then it is one of few, for a short
// time; at the bound the oldest of those makes room.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>

#include "base/ip.hpp"
#include "runtime/http/link_socket.hpp"

namespace postern::server {

struct LinkStats {
  std::size_t open = 0;
  std::size_t unbound = 0;
  std::uint64_t accepted = 0;
  std::uint64_t refused_full = 0;
  std::uint64_t never_bound = 0;  ///< closed because nobody bound in time, or made room for others
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t dropped_datagrams = 0;
  std::uint64_t forged =
      0;  ///< datagrams of the network that claim to come from a link; the socket's owner counts them
};

struct LinkLimits {
  std::size_t links_max = 10'000;
  std::size_t unbound_max = 256;
  Duration unbound_time = std::chrono::seconds(10);
  /// Bindings are refreshed every 20 s.
  Duration silence_max = std::chrono::seconds(60);
  /// For one that was bound: its agent has gone to UDP and keeps it for a while.
  Duration idle_max = std::chrono::minutes(2);
};

class RelayLinks {
 public:
  static constexpr Duration kSweepPeriod = std::chrono::seconds(1);

  struct Callbacks {
    std::function<void(const SocketAddress& from, MutableBytes bytes, std::size_t stride)> train{};
    std::function<void(const SocketAddress& from)> closed{};
    std::function<bool(const SocketAddress& from)> is_bound{};
  };

  /// `loop` outlives it; every callback is set.
  RelayLinks(runtime::EventLoop& loop, LinkLimits limits, Callbacks callbacks)
      : loop_(loop), limits_(limits), callbacks_(std::move(callbacks)) {}
  ~RelayLinks();
  RelayLinks(const RelayLinks&) = delete;
  RelayLinks& operator=(const RelayLinks&) = delete;

  void accept(runtime::LinkSocket::Connection connection, const std::string& key);
  /// Dropped, and counted, when there is no such link.
  void send(Instant now, const SocketAddress& to, ByteView bytes, std::size_t stride);
  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Instant> next_timeout() const { return sweep_at_; }
  [[nodiscard]] LinkStats stats() const;
  void close_all();

 private:
  struct Link {
    std::shared_ptr<runtime::LinkSocket> socket;
    Instant bound_at;  ///< when it was seen bound last; before: when it was opened
    bool bound = false;
  };
  using Table = std::unordered_map<SocketAddress, Link>;

  void make_room();
  void handle_closed(const SocketAddress& address);
  Table::iterator close(Table::iterator link);
  [[nodiscard]] bool is_over(Instant now, const SocketAddress& address, Link& link);

  runtime::EventLoop& loop_;
  LinkLimits limits_;
  Callbacks callbacks_;
  runtime::LinkBuffers buffers_;
  Table links_;
  std::deque<SocketAddress> unbound_;  ///< oldest first; some may be bound or gone by now
  std::uint64_t next_number_ = 1;
  std::optional<Instant> sweep_at_;
  LinkStats stats_;
};

}  // namespace postern::server
