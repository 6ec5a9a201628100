// Streams of local programs as the application's side of flows: connections of the SOCKS5 and HTTP port, and of
// `postern nc`. Sockets on this side, the client core on the other, no copy between: bytes are read into blocks that
// the session keeps until they are acknowledged, and written from the slices in which they came.
//
//     Waiting ──accept──▶ Open ──both sides have ended──▶ gone
//        └──refuse──▶ Leaving (its answer is read, or a second has passed) ──▶ gone
//
// A program that does not read stops the flow (sendable), a flow that does not take stops the reading (window). A reset
// from the target closes a TCP connection with RST; a unix socket knows no RST, so there a second socket tells what
// happened.
#pragma once

#include <sys/types.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/block.hpp"
#include "client_core/application_side.hpp"
#include "runtime/loop/descriptor.hpp"
#include "runtime/loop/event_loop.hpp"

namespace postern::client {

/// What a program hears before its bytes.
class StreamGreeting {
 public:
  virtual ~StreamGreeting() = default;
  [[nodiscard]] virtual std::string opened() const = 0;
  [[nodiscard]] virtual std::string refused(const FlowDenial& denial) const = 0;
};

class LocalStreams final : public ApplicationSide {
 public:
  /// The owner looks at size() and turns further programs away.
  static constexpr std::size_t kStreamsMax = 8192;
  /// Bytes of one stream that were read and not yet granted back, and that wait for the program.
  static constexpr std::size_t kWindow = 1U << 20;
  static constexpr std::size_t kUnwrittenMax = 512U << 10;

  struct Opening {
    runtime::Descriptor fd;
    std::unique_ptr<StreamGreeting> greeting;
    Destination destination;
    std::string early{};            ///< what the program has said already
    std::string head{};             ///< what it is told at once
    runtime::Descriptor verdict{};  ///< the write end of a pipe that gets one line if the flow is broken off
    uid_t user = 0;
  };
  struct Wanted {
    tcp::FlowId flow;
    Destination destination;
  };

  LocalStreams(runtime::EventLoop& loop, BlockPool& pool) : loop_(loop), pool_(pool) {}
  ~LocalStreams() override;
  LocalStreams(const LocalStreams&) = delete;
  LocalStreams& operator=(const LocalStreams&) = delete;

  void open(Instant now, Opening opening);
  /// A connection that becomes no flow: it is told so and closed when it has heard it.
  void leave(Instant now, runtime::Descriptor fd, std::string last_words);
  [[nodiscard]] std::size_t size() const { return streams_.size(); }
  /// Streams of one user.
  [[nodiscard]] std::size_t count_of(uid_t user) const;

  // --- a turn, by whoever has the client -----------------------------------------------------------------------------
  void read_ready(Instant now);
  [[nodiscard]] std::optional<Wanted> poll_wanted();
  [[nodiscard]] std::optional<tcp::Event> poll_event();
  [[nodiscard]] bool has_events() const { return !events_.empty(); }
  void write_ready(Instant now);
  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Instant> next_timeout() const;
  /// There is no client: whoever waits is told so.
  void refuse_all(Instant now, const FlowDenial& denial);

  // --- ApplicationSide -----------------------------------------------------------------------------------------------
  void accept(Instant now, tcp::FlowId flow) override;
  void refuse(Instant now, tcp::FlowId flow, const FlowDenial& denial) override;
  [[nodiscard]] std::size_t sendable(tcp::FlowId flow) const override;
  void send(Instant now, tcp::FlowId flow, Slice bytes) override;
  void finish(Instant now, tcp::FlowId flow) override;
  void abort(Instant now, tcp::FlowId flow) override;
  void grant(tcp::FlowId flow, std::size_t bytes) override;

 private:
  enum class Stage : std::uint8_t { Waiting, Open, Leaving };
  enum class ReadOutcome : std::uint8_t { More, Empty, Blocked, Starved, Gone };
  struct Stream {
    runtime::Descriptor fd;
    runtime::Descriptor verdict;
    std::unique_ptr<StreamGreeting> greeting;
    std::string early;
    uid_t user = 0;
    Stage stage = Stage::Waiting;
    std::string head;  ///< our own words, before the flow's bytes
    std::deque<Slice> outgoing;
    std::size_t outgoing_size = 0;
    std::size_t window_used = 0;
    bool is_readable = true;
    bool is_writable = true;
    bool is_in_ring = false;
    bool is_dirty = false;
    bool has_ended = false;  ///< the kernel has told of an end: a short read does not empty the socket
    bool read_finished = false;
    bool finish_wanted = false;
    bool write_finished = false;
  };
  using Streams = std::unordered_map<tcp::FlowId, Stream>;

  Stream& add(tcp::FlowId flow, runtime::Descriptor fd);
  void begin_leaving(Instant now, tcp::FlowId flow, Stream& stream, std::string last_words);
  [[nodiscard]] Stream* find(tcp::FlowId flow);
  void handle_ready(tcp::FlowId flow, std::uint32_t events);
  void make_ready(tcp::FlowId flow, Stream& stream);
  void make_dirty(tcp::FlowId flow, Stream& stream);
  ReadOutcome read_once(tcp::FlowId flow, Stream& stream);
  ReadOutcome discard_once(tcp::FlowId flow, Stream& stream);
  [[nodiscard]] bool have_room();
  void write(tcp::FlowId flow, Stream& stream);
  [[nodiscard]] bool write_head(tcp::FlowId flow, Stream& stream);
  [[nodiscard]] bool write_slices(tcp::FlowId flow, Stream& stream);
  void finish_writing(tcp::FlowId flow, Stream& stream);
  void end_if_done(tcp::FlowId flow, Stream& stream);
  /// The program is gone: the flow is told.
  void fail(tcp::FlowId flow);
  void close(tcp::FlowId flow);

  runtime::EventLoop& loop_;
  BlockPool& pool_;
  Streams streams_;
  std::uint64_t numbers_ = 0;
  std::deque<Wanted> wanted_;
  std::deque<tcp::Event> events_;
  std::deque<tcp::FlowId> ring_;
  std::deque<tcp::FlowId> dirty_;
  std::deque<std::pair<Instant, tcp::FlowId>> leaving_;
  std::optional<Instant> starved_until_;
  Buffer block_;
  std::size_t used_ = 0;
};

}  // namespace postern::client
