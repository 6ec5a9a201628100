// What one flow has done so far, and what it waited for: times, bytes, and stalls by cause. Pure.
//
// A stall is a time in which bytes were there and could not go on:
//   path         the application has more than the session has sent: congestion, loss, or plain rate
//   slow server  the same, but it is the connector's window: the target does not read
//   slow reader  the application has bytes before it and took none for kReaderPause
//   our window   the target fills a window that may not grow any more (memory)
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.hpp"
#include "base/time.hpp"
#include "model/ids.hpp"
#include "model/resource.hpp"

namespace postern::client {

enum class StallCause : std::uint8_t { Path, SlowServer, SlowReader, OurWindow, kCount };
[[nodiscard]] std::string_view to_string(StallCause cause);
using Stalls = std::array<Duration, static_cast<std::size_t>(StallCause::kCount)>;

class FlowMeter {
 public:
  /// A kernel takes bytes for its application within milliseconds, if it has room.
  static constexpr Duration kReaderPause = std::chrono::milliseconds(100);

  void handle_started(Instant now) { started_ = now; }
  void handle_opened(Instant now, const IpAddress& connected, Duration connect_time);
  void handle_sent(std::size_t bytes) { bytes_up_ += bytes; }
  /// The target's bytes went to the application's side; `is_window_full`: the target could have sent more.
  void handle_received(Instant now, std::size_t bytes, bool is_window_full);
  /// The application took so many of them.
  void handle_taken(Instant now, std::size_t bytes);

  /// Bytes of the application wait for the session.
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
    [[nodiscard]] Duration length(Instant now) const;
  };
  static void begin(Instant now, Stall& stall, StallCause cause);
  void end(Instant now, Stall& stall);

  Instant started_;
  std::optional<Instant> opened_;
  std::optional<Instant> first_byte_;
  Duration connect_time_{};
  IpAddress connected_;
  std::uint64_t bytes_up_ = 0;
  std::uint64_t bytes_down_ = 0;
  Stall upward_;
  Stall reader_;
  Stall window_;
  std::uint64_t held_ = 0;  ///< with the application's side, not taken yet
  Stalls stalls_{};
};

/// A flow as people see it.
struct FlowInfo {
  std::uint64_t id = 0;  ///< of flows of TCP, or of UDP and ICMP
  model::Protocol protocol = model::Protocol::Tcp;
  model::ResourceId resource;
  std::string resource_name;  ///< empty when it is gone
  std::string destination;    ///< "db.home.lan:5432", "db.home.lan:53/udp", "db.home.lan/icmp"
  std::string connected;      ///< the address behind it; empty before the flow is open
  std::string state;          ///< "waiting", "opening", "open"; of ended flows how: "closed", "reset", a FlowRefusal
  std::string connector;
  std::string path;       ///< "relay" or "direct"; empty while there is no session
  std::string transport;  ///< "udp", or "tls" for a relay that UDP does not reach
  std::optional<Duration> round_trip;
  std::optional<Duration> connect_time;
  std::optional<Duration> open_time;
  std::optional<Duration> first_byte_time;
  std::uint64_t bytes_up = 0;
  std::uint64_t bytes_down = 0;
  Duration age{};  ///< since its start; of ended flows how long it lasted
  std::optional<Duration> ended_ago;
  Stalls stalls{};
};

struct FlowList {
  std::vector<FlowInfo> flows;
  std::size_t living = 0;  ///< how many there are, listed or not
};

}  // namespace postern::client
