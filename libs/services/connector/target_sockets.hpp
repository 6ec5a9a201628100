// The real TCP connections of flows: racing addresses, moving bytes between kernel and core.
//
// Sockets are watched edge-triggered. What can be read waits in a ring and is read a little per turn, so that no flow
// keeps the others waiting; what the core has for a socket is written at once, gathered in one writev().
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/block.hpp"
#include "connector_core/flows.hpp"
#include "runtime/loop/descriptor.hpp"
#include "runtime/loop/event_loop.hpp"

namespace postern::connector {

/// What connect() or a socket said, as the reason that the client turns into the same thing on its side.
[[nodiscard]] wire::RefusalReason refusal_of(int error_code);

class TargetSockets {
 public:
  /// All outlive it.
  TargetSockets(runtime::EventLoop& loop, Flows& flows, BlockPool& pool);
  ~TargetSockets();
  TargetSockets(const TargetSockets&) = delete;
  TargetSockets& operator=(const TargetSockets&) = delete;

  void connect(Instant now, const ConnectTcp& request);
  void write(Instant now, FlowId flow);
  void resume(FlowId flow) { make_ready(flow); }
  void finish(FlowId flow);
  void close(FlowId flow);
  void abort(FlowId flow);

  /// One turn's share of reading.
  void read_ready(Instant now);
  void handle_timeout(Instant now);
  /// A time in the past while sockets wait to be read.
  [[nodiscard]] std::optional<Instant> next_timeout() const;
  [[nodiscard]] std::size_t size() const { return targets_.size(); }

 private:
  struct Attempt {
    runtime::Descriptor fd;
    SocketAddress address;
  };
  struct Target {
    std::vector<SocketAddress> addresses;  ///< of which `next_address` and later were not tried
    std::size_t next_address = 0;
    std::vector<Attempt> attempts;
    std::optional<Instant> next_attempt;
    Instant started;
    int error_code = 0;      ///< the most telling one of the attempts that failed
    runtime::Descriptor fd;  ///< once connected
    bool writable = true;
    bool readable = true;
    bool ended = false;   ///< the kernel has told of a FIN or an error: a short read is not the end of it
    bool broken = false;  ///< a write failed
    bool in_ring = false;
  };
  enum class ReadOutcome : std::uint8_t { More, Empty, Blocked, Starved, Gone };

  void start_attempt(Instant now, FlowId flow, Target& target);
  [[nodiscard]] int try_connect(FlowId flow, Target& target, const SocketAddress& address);
  void handle_event(int fd, std::uint32_t events);
  void handle_attempt(Instant now, FlowId flow, Target& target, int fd, std::uint32_t events);
  void attempt_failed(Instant now, FlowId flow, Target& target, int error_code);
  void connected(Instant now, FlowId flow, Target& target, std::size_t winner);
  void make_ready(FlowId flow);
  ReadOutcome read_once(Instant now, FlowId flow, Target& target);
  [[nodiscard]] bool have_room();
  Slice take(std::size_t size);
  void watch(int fd, FlowId flow);
  void unwatch(runtime::Descriptor& fd);
  void forget(FlowId flow, Target& target);

  runtime::EventLoop& loop_;
  Flows& flows_;
  BlockPool& pool_;
  std::unordered_map<FlowId, Target> targets_;
  std::vector<FlowId> owners_;  ///< by descriptor
  std::deque<FlowId> ring_;
  std::deque<std::pair<Instant, FlowId>> races_;  ///< when the next address is due; in order, as the pause is constant
  std::optional<Instant> starved_until_;
  Buffer block_;
  std::size_t used_ = 0;
};

}  // namespace postern::connector
