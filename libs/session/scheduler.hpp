// Which stream fills the next packet: the control stream first, then flows that have sent little (so that a request
// never waits behind a download), then bulk flows in turn.
//
// Streams that can send stand in intrusive lists; nothing is allocated.
#pragma once

#include "session/stream.hpp"

namespace postern::session {

class Scheduler {
 public:
  /// A flow that has sent less than this goes before bulk flows.
  static constexpr std::uint64_t kSmallFlow = 16 * 1024;
  /// Bytes of one bulk flow before it is the next one's turn.
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
  List small_;
  List bulk_;
};

}  // namespace postern::session
