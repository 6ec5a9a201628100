// Both directions of one QUIC stream: slices queued and held until acknowledged, and bytes received into blocks.
#pragma once

#include <ngtcp2/ngtcp2.h>

#include <cstdint>
#include <optional>
#include <span>

#include "base/block.hpp"
#include "session/ring.hpp"
#include "session/types.hpp"
#include "session/window.hpp"

namespace postern::session {

/// What the writer gave. QUIC reads the bytes where they lie, also to send them again, so a slice stays until its last
/// byte is acknowledged or the stream has ended.
class SendQueue {
 public:
  [[nodiscard]] std::size_t unsent() const { return unsent_; }
  /// Everything was acknowledged.
  [[nodiscard]] bool is_empty() const { return slices_.empty(); }
  void push(Slice slice);
  /// Fills `vectors` with the first unsent bytes, stopping once `wanted` bytes are covered. `covers_all` of the result
  /// says that nothing unsent lies beyond.
  struct Gathered {
    std::size_t count = 0;
    std::size_t bytes = 0;
    bool covers_all = true;
  };
  [[nodiscard]] Gathered gather(std::span<ngtcp2_vec> vectors, std::size_t wanted) const;
  void advance(std::size_t bytes);
  void acknowledge(std::size_t bytes);
  /// Forgets what was never sent; what was sent stays for retransmission.
  void drop_unsent();

 private:
  Ring<Slice> slices_;
  std::size_t next_ = 0;         ///< index of the slice with the next unsent byte
  std::size_t next_offset_ = 0;  ///< offset of that byte inside it
  std::size_t unsent_ = 0;
};

/// What the peer sent and the reader has not taken yet, copied once into blocks: small ones for streams that say
/// little, large ones for busy streams, so that a reader gets up to 64 KiB in one piece.
class ReceiveQueue {
 public:
  static constexpr std::size_t kReadMax = 64 * 1024;

  /// False when the pool is at its bound.
  [[nodiscard]] bool append(BlockPool& pool, ByteView bytes);
  [[nodiscard]] Slice read();
  [[nodiscard]] std::size_t unread() const { return unread_; }
  void clear();

 private:
  [[nodiscard]] bool acquire(BlockPool& pool);
  void push(Slice slice);

  Ring<Slice> slices_;
  Buffer tail_;
  std::size_t tail_used_ = 0;
  std::size_t tail_room_ = 0;
  std::size_t unread_ = 0;
  std::size_t burst_ = 0;       ///< bytes since the queue was last empty
  std::size_t last_burst_ = 0;  ///< the burst before
};

/// Which list of the scheduler a stream stands in.
enum class SendClass : std::uint8_t { Idle, Control, Sparse, Bulk };

struct Stream {
  StreamId id;
  SendQueue send;
  ReceiveQueue receive;
  ReceiveWindow window;
  std::uint64_t held = 0;  ///< bytes received and not yet consumed

  bool finish_queued = false;     ///< the writer has ended
  bool finish_sent = false;       ///< and QUIC has taken the FIN
  bool write_ended = false;       ///< reset by us or stopped by the peer: nothing is sent any more
  bool flow_blocked = false;      ///< the peer's stream window is used up
  bool peer_finished = false;     ///< all bytes of the peer are here
  bool peer_reset = false;        ///< no more bytes of the peer will come; those that are here can be read
  bool read_ended = false;        ///< reset by us: nothing is delivered any more
  bool transport_closed = false;  ///< QUIC has forgotten the stream
  bool closing = false;           ///< StreamClosed is queued
  bool readable_queued = false;
  bool writable_queued = false;
  mutable bool writer_waits = false;  ///< writable() said little: tell when that changes
  /// Set: it is reset with this code once all that was written is acknowledged.
  std::optional<std::uint64_t> ending_code{};

  // Owned by Scheduler.
  SendClass send_class = SendClass::Idle;
  bool is_bulk = false;  ///< it has sent a turn's bytes without a pause
  std::uint64_t turn_bytes = 0;
  Stream* previous = nullptr;
  Stream* next = nullptr;

  [[nodiscard]] bool has_to_send() const {
    return !write_ended && !transport_closed && (send.unsent() > 0 || (finish_queued && !finish_sent));
  }
  [[nodiscard]] bool takes_writes() const { return !finish_queued && !write_ended && !ending_code; }
  [[nodiscard]] bool is_drained() const {
    return read_ended || ((peer_finished || peer_reset) && receive.unread() == 0);
  }
};

}  // namespace postern::session
