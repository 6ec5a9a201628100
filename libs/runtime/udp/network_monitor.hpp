// Tells when addresses or routes of this host changed (another Wi-Fi, a cable, a container's network): rtnetlink
// messages, which need no privilege. A burst of them is one change.
#pragma once

#include <functional>
#include <optional>

#include "runtime/loop/descriptor.hpp"
#include "runtime/loop/event_loop.hpp"

namespace postern::runtime {

class NetworkMonitor final : private TurnParticipant {
 public:
  /// `changed` is called on the loop's thread, 300 ms after the last message of a burst and 2 s after the first at the
  /// latest. Where the kernel or a sandbox refuses, it is never called.
  NetworkMonitor(EventLoop& loop, std::function<void()> changed);
  ~NetworkMonitor() override;
  NetworkMonitor(const NetworkMonitor&) = delete;
  NetworkMonitor& operator=(const NetworkMonitor&) = delete;

 private:
  void end_turn(Instant now) override;
  [[nodiscard]] std::optional<Instant> next_timeout() const override { return due_; }
  void handle_readable();

  EventLoop& loop_;
  std::function<void()> changed_;
  Descriptor fd_;
  std::optional<Instant> due_;
  std::optional<Instant> latest_;
};

}  // namespace postern::runtime
