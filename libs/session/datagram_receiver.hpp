// Datagrams that have come in one session: pieces put together, payloads copied once into blocks, neighbours of one
// flow and size joined into trains, so that a burst reaches the kernel in few calls.
#pragma once

#include <optional>
#include <vector>

#include "session/event_queue.hpp"
#include "session/ring.hpp"
#include "session/types.hpp"
#include "wire/flow_datagram.hpp"

namespace postern::session {

/// Payloads that came in pieces and are not complete. When they take too much, the oldest packet goes.
class DatagramReassembly {
 public:
  static constexpr std::size_t kBytesMax = 256 * 1024;
  static constexpr std::size_t kPacketsMax = 64;
  static constexpr Duration kPatience = std::chrono::seconds(1);
  /// A UDP payload is never larger.
  static constexpr std::size_t kPayloadMax = 65'535;

  /// The whole payload when this was the last piece that was missing. Valid until the next call.
  [[nodiscard]] std::optional<ByteView> add(Instant now, const wire::FlowDatagram& datagram,
                                            DatagramCounters& counters);
  void expire(Instant now, DatagramCounters& counters);
  [[nodiscard]] std::optional<Instant> next_timeout() const;
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  struct Packet {
    std::int64_t stream = 0;
    std::uint16_t id = 0;
    Instant since;
    std::size_t size = 0;
    std::size_t count = 0;
    std::optional<std::uint8_t> last;  ///< index of the last piece
    std::vector<Bytes> pieces;         ///< by index; empty: missing
  };
  [[nodiscard]] std::size_t find(std::int64_t stream, std::uint16_t id) const;
  [[nodiscard]] static bool contradicts(const Packet& packet, const wire::DatagramPiece& piece, std::size_t size);
  void erase(std::size_t index);

  std::vector<Packet> packets_;  ///< the oldest first
  std::size_t bytes_ = 0;
  Bytes complete_;
};

class DatagramReceiver {
 public:
  /// Unread ones of a session; further ones are dropped.
  static constexpr std::size_t kBytesMax = 4U << 20;
  static constexpr std::size_t kTrainsMax = 4096;
  /// What one GSO call takes.
  static constexpr std::size_t kTrainBytesMax = 65'000;
  static constexpr std::size_t kTrainPacketsMax = 64;

  DatagramReceiver(SessionId session, BlockPool& pool, EventQueue& events, DatagramCounters& counters)
      : session_(session), pool_(pool), events_(events), counters_(counters) {}

  void handle_frame(Instant now, ByteView frame);
  void handle_timeout(Instant now) { reassembly_.expire(now, counters_); }
  [[nodiscard]] std::optional<Instant> next_timeout() const { return reassembly_.next_timeout(); }
  /// The owner has taken the event.
  void handle_polled() { is_announced_ = false; }
  [[nodiscard]] std::optional<DatagramTrain> read();

 private:
  void deliver(StreamId flow, ByteView payload);
  [[nodiscard]] std::optional<Slice> store(ByteView payload);
  [[nodiscard]] bool join(StreamId flow, const Slice& payload);

  const SessionId session_;
  BlockPool& pool_;
  EventQueue& events_;
  DatagramCounters& counters_;
  DatagramReassembly reassembly_;
  Ring<DatagramTrain> trains_;
  std::size_t bytes_ = 0;
  Buffer block_;
  std::size_t used_ = 0;
  bool is_announced_ = false;
};

}  // namespace postern::session
