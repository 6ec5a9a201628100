// Which stream fills the next packet: the control stream first, then sparse flows, then bulk flows in turn.
//
// A flow is sparse until it has sent a turn's bytes without a pause, and again once all that it had is sent. So a key
// or a request never waits behind downloads, however old its flow is, and a flow gains no rate by being sparse.
//
// Streams that can send stand in intrusive lists; nothing is allocated.
#pragma once

#include "session/stream.hpp"

namespace postern::session {

class Scheduler {
 public:
  /// Bytes of one flow before it is the next one's turn; a sparse flow is a bulk flow from then on.
  static constexpr std::uint64_t kTurn = 16 * 1024;

  /// Puts the stream into its list when it has something to send and is not blocked by its peer.
  void activate(Stream& stream);
  void remove(Stream& stream);
  /// The stream to write from now; null when none can send.
  [[nodiscard]] Stream* front() const;
  /// Counts bytes that left, and passes the turn on.
  void charge(Stream& stream, std::size_t bytes);

 private:
  struct List {
    Stream* first = nullptr;
    Stream* last = nullptr;
  };
  [[nodiscard]] List& list_of(SendClass send_class);
  [[nodiscard]] static SendClass class_of(const Stream& stream);
  void append(Stream& stream);

  List control_;
  List sparse_;
  List bulk_;
};

}  // namespace postern::session
