// Datagrams that wait to be sent in one session: a queue for each flow, the flows in turn, and payloads that do not fit
// into a frame cut into pieces as they leave (PROTOCOL.md §4.4).
//
// Nothing is sent twice, so a queue drops from its front: what is old is worth least.
#pragma once

#include <ngtcp2/ngtcp2.h>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <unordered_map>

#include "session/ring.hpp"
#include "session/types.hpp"
#include "wire/flow_datagram.hpp"

namespace postern::session {

class DatagramSender {
 public:
  /// A flow's queue may hold this many, and more only while its oldest is young: a burst from one read of the TUN is
  /// longer, and so is a short stop of the path.
  static constexpr std::size_t kPacketsMax = 64;
  static constexpr Duration kYoung = std::chrono::milliseconds(50);
  /// Older ones help nobody.
  static constexpr Duration kAgeMax = std::chrono::seconds(1);
  /// Of all flows of the session.
  static constexpr std::size_t kBytesMax = 4U << 20;
  /// Bytes of one flow before it is the next one's turn, and of all before it is the streams'.
  static constexpr std::size_t kTurn = 16 * 1024;

  /// `bytes` are datagrams of `stride` each, the last may be shorter; empty is one empty datagram.
  void push(Instant now, StreamId flow, Slice bytes, std::size_t stride, DatagramCounters& counters);
  [[nodiscard]] bool empty() const { return packets_ == 0; }
  [[nodiscard]] std::size_t packets() const { return packets_; }

  /// What fills the next frame.
  struct Frame {
    wire::FlowDatagramHeader header;
    std::array<ngtcp2_vec, 2> parts{};
    std::size_t count = 0;
    std::size_t size = 0;
  };
  using IsReady = std::function<bool(StreamId)>;
  /// The next frame of at most `frame_max` bytes; nothing when no flow that is_ready has any. Valid until taken().
  [[nodiscard]] bool prepare(Instant now, std::size_t frame_max, const IsReady& is_ready, Frame& frame,
                             DatagramCounters& counters);
  /// The frame prepared last is in a packet.
  void taken(DatagramCounters& counters);

  /// Whether it is the turn of datagrams although streams wait too.
  [[nodiscard]] bool has_turn() const { return debt_ < kTurn; }
  /// A stream has sent this much while datagrams wait.
  void credit(std::size_t bytes) { debt_ -= std::min(debt_, bytes); }

 private:
  struct Entry {
    Slice bytes;
    std::size_t stride = 1;
    std::size_t offset = 0;  ///< of the packet that is next
    Instant since;
  };
  struct Queue {
    Ring<Entry> entries;
    std::size_t packets = 0;
    bool has_turn = false;  ///< stands in turns_, also when what it had was dropped
    std::size_t turn_bytes = 0;
    // Of the front packet.
    std::uint16_t packet_id = 0;
    std::size_t piece_offset = 0;  ///< what has left
    std::size_t piece_size = 0;    ///< 0: it is not being cut
  };

  [[nodiscard]] static std::size_t packets_of(const Entry& entry);
  [[nodiscard]] static std::size_t front_size(const Queue& queue);
  void drop_old(Instant now, Queue& queue, DatagramCounters& counters);
  void drop_front(Queue& queue, DatagramCounters& counters);
  void pop_front(Queue& queue);
  void cut(Queue& queue, std::size_t piece_size);
  void fill(Queue& queue, StreamId flow, std::size_t frame_max, Frame& frame);

  std::unordered_map<StreamId, Queue> queues_;
  Ring<StreamId> turns_;  ///< flows with queues, each once
  std::size_t packets_ = 0;
  std::size_t bytes_ = 0;
  std::uint16_t next_packet_id_ = 0;
  std::size_t debt_ = 0;      ///< sent by datagrams and not yet by streams, at most kTurn
  std::size_t prepared_ = 0;  ///< payload bytes of the frame prepared last
};

}  // namespace postern::session
