// The sockets of UDP and ICMP flows: one connected socket each, watched edge-triggered and read a little per turn.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <unordered_map>

#include "base/block.hpp"
#include "connector_core/flows.hpp"
#include "runtime/loop/event_loop.hpp"
#include "runtime/udp/connected_socket.hpp"

namespace postern::connector {

class DatagramSockets {
 public:
  /// Of all flows, since the start.
  struct Counters {
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    std::uint64_t not_sent = 0;  ///< the kernel did not take them
  };

  /// All outlive it.
  DatagramSockets(runtime::EventLoop& loop, Flows& flows, BlockPool& pool);
  ~DatagramSockets();
  DatagramSockets(const DatagramSockets&) = delete;
  DatagramSockets& operator=(const DatagramSockets&) = delete;

  void open(Instant now, const OpenDatagrams& request);
  void send(const SendDatagrams& request);
  /// False when the flow has no socket here.
  bool close(FlowId flow);

  /// One turn's share of reading.
  void read_ready(Instant now);
  /// A time in the past while sockets wait to be read.
  [[nodiscard]] std::optional<Instant> next_timeout() const;
  [[nodiscard]] const Counters& counters() const { return counters_; }
  /// The host has refused a ping socket, and none was opened since.
  [[nodiscard]] bool is_ping_forbidden() const { return ping_forbidden_; }

 private:
  struct Socket {
    runtime::ConnectedSocket socket;
    bool readable = false;
    bool in_ring = false;
  };
  void handle_event(FlowId flow, std::uint32_t events);
  void pass_errors(Instant now, FlowId flow, Socket& from);
  /// False when there is no more to read now.
  bool read_once(Instant now, FlowId flow, Socket& from);
  [[nodiscard]] std::optional<Slice> take(ByteView bytes, std::size_t offset);
  void make_ready(FlowId flow, Socket& socket);

  runtime::EventLoop& loop_;
  Flows& flows_;
  BlockPool& pool_;
  std::unordered_map<FlowId, Socket> sockets_;
  std::deque<FlowId> ring_;
  Buffer block_;
  bool ping_forbidden_ = false;
  Counters counters_;
};

}  // namespace postern::connector
