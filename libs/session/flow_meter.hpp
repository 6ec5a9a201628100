// What one flow has done so far, and what it waited for: times, bytes, and stalls by cause. Pure.
//
// Client and connector each have one for a flow, and say what they see; the causes have the same meaning on both. A
// stall is a time in which bytes were there and could not go on:
//   path         our end has more than the session has sent: congestion, loss, or plain rate
//   slow server  the target does not read: at the client its connector's window is closed; at the connector the target
//                has bytes before it and took none for kTakerPause
//   slow reader  the same of the application: at the connector the client's window is closed
//   our window   the other end fills a window that may not grow any more (memory)
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/ip.hpp"
#include "base/time.hpp"

namespace postern::session {

enum class StallCause : std::uint8_t { Path, SlowServer, SlowReader, OurWindow, kCount };
[[nodiscard]] std::string_view to_string(StallCause cause);
using Stalls = std::array<Duration, static_cast<std::size_t>(StallCause::kCount)>;

class FlowMeter {
 public:
  /// A kernel takes bytes for its program within milliseconds, if it has room.
  static constexpr Duration kTakerPause = std::chrono::milliseconds(100);

  /// `taker`: what it is called when those do not read whom our end gives bytes to: SlowReader or SlowServer.
  explicit FlowMeter(StallCause taker = StallCause::SlowReader) {
    taker_.cause = taker;
    taker_.ignored = kTakerPause;
    window_.cause = StallCause::OurWindow;
  }

  void handle_started(Instant now) { started_ = now; }
  void handle_opened(Instant now, const IpAddress& connected, Duration connect_time);
  void handle_sent(std::size_t bytes) { bytes_up_ += bytes; }
  /// Bytes of the session went towards the taker; `is_window_full`: the other end could have sent more.
  void handle_received(Instant now, std::size_t bytes, bool is_window_full);
  /// It took so many of them.
  void handle_taken(Instant now, std::size_t bytes);

  /// Bytes of ours wait for the session.
  void begin_upward_stall(Instant now, StallCause cause);
  void end_upward_stall(Instant now) { end(now, upward_); }

  [[nodiscard]] Instant started() const { return started_; }
  [[nodiscard]] const IpAddress& connected() const { return connected_; }
  /// Of connect() at the connector; nothing before the flow is open.
  [[nodiscard]] std::optional<Duration> connect_time() const;
  /// From the flow's start to the application's go, and to the target's first byte.
  [[nodiscard]] std::optional<Duration> open_time() const;
  [[nodiscard]] std::optional<Duration> first_byte_time() const;
  [[nodiscard]] std::uint64_t bytes_up() const { return bytes_up_; }
  [[nodiscard]] std::uint64_t bytes_down() const { return bytes_down_; }
  /// With what is going on now.
  [[nodiscard]] Stalls stalls(Instant now) const;

 private:
  struct Stall {
    std::optional<Instant> since;
    StallCause cause = StallCause::Path;
    Duration ignored{};  ///< shorter ones are none
    [[nodiscard]] Duration length(Instant now) const;
  };
  static void begin(Instant now, Stall& stall);
  void end(Instant now, Stall& stall);

  Instant started_;
  std::optional<Instant> opened_;
  std::optional<Instant> first_byte_;
  Duration connect_time_{};
  IpAddress connected_;
  std::uint64_t bytes_up_ = 0;
  std::uint64_t bytes_down_ = 0;
  Stall upward_;
  Stall taker_;
  Stall window_;
  std::uint64_t held_ = 0;  ///< with the taker's side, not taken yet
  Stalls stalls_{};
};

}  // namespace postern::session
