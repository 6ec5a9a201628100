// An agent's relay links: opens those that its core wants, directly or through a proxy, and closes the others
// (PROTOCOL.md §3.6).
//
// Names are resolved, TCP is connected and the proxy is asked on a thread of its own, which exists from the first wish
// on; from the connected socket on everything happens on the owner's loop.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/ip.hpp"
#include "runtime/http/link_socket.hpp"
#include "wire/relay_binding.hpp"

namespace postern::runtime {

class AgentLinks final : public TurnParticipant {
 public:
  /// For TCP, proxy, TLS and upgrade together.
  static constexpr Duration kOpenMax = std::chrono::seconds(15);
  /// While a link takes nothing, its sender waits; when that has gone on for longer, others on the same loop shall not
  /// wait with it: old datagrams are dropped then.
  static constexpr Duration kPatience = std::chrono::milliseconds(50);
  static constexpr Duration kIdleMax = std::chrono::seconds(10);

  struct Wish {
    SocketAddress link{};
    std::uint64_t attempt = 0;  ///< another number: open it anew
    ServerAddress server{};
    ServerTrust trust{};
  };
  struct Events {
    std::function<void(const SocketAddress& link)> opened{};
    std::function<void(const SocketAddress& link, const std::string& reason)> closed{};
    std::function<void(const SocketAddress& link, MutableBytes bytes, std::size_t stride)> train{};
  };

  /// Where to find what the core wants; `server` and `trust` are those of the control channel.
  [[nodiscard]] static Wish make_wish(const wire::WantedLink& wanted, const ServerAddress& server,
                                      const ServerTrust& trust);

  /// `loop` outlives it; every event is set.
  AgentLinks(EventLoop& loop, Events events, Duration open_max = kOpenMax);
  ~AgentLinks() override;
  AgentLinks(const AgentLinks&) = delete;
  AgentLinks& operator=(const AgentLinks&) = delete;

  /// All that shall be open; cheap when nothing changes.
  void want(const std::vector<Wish>& wishes);
  /// Dropped, and counted, when there is no such link.
  void send(Instant now, const SocketAddress& link, ByteView bytes, std::size_t stride);
  [[nodiscard]] bool is_blocked(Instant now) const;
  [[nodiscard]] const LinkCounters& counters() const { return counters_; }

  void end_turn(Instant now) override;
  [[nodiscard]] std::optional<Instant> next_timeout() const override;

 private:
  class Dialer;
  struct Entry {
    Wish wish;
    std::shared_ptr<LinkSocket> socket;
    Instant deadline;
    LinkCounters counted;  ///< what of its counters is in counters_
    bool opened = false;
  };

  void open(Instant now, const Wish& wish);
  void handle_connected(const SocketAddress& link, std::uint64_t attempt, Descriptor descriptor, TlsContext context);
  void handle_failed(const SocketAddress& link, std::uint64_t attempt, const std::string& reason);
  void start(Entry& entry, Descriptor descriptor, TlsContext context);
  void account(Entry& entry);
  void close(Entry& entry);
  [[nodiscard]] Entry* find(const SocketAddress& link, std::uint64_t attempt);

  EventLoop& loop_;
  Events events_;
  Duration open_max_;
  LinkBuffers buffers_;
  std::vector<Entry> entries_;
  LinkCounters counters_;
  Instant used_;
  std::shared_ptr<bool> alive_;  ///< for tasks of the dialer's thread
  std::unique_ptr<Dialer> dialer_;
};

}  // namespace postern::runtime
