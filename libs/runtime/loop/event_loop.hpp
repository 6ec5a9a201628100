// The event loop of a data-plane thread: epoll, one deadline, and a bounded mailbox for other threads.
//
// A turn: wait for descriptors or the deadline; read the clock once; call the handlers of ready descriptors; run posted
// tasks; then call every participant's end_turn(), where cores flush what the turn produced. The next deadline is the
// earliest of the participants' next_timeout().
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "base/time.hpp"

namespace postern::runtime {

/// Reads CLOCK_BOOTTIME, so that time goes on while the machine sleeps.
[[nodiscard]] Instant monotonic_now();
/// The host's UTC clock; agents correct it by the controller's offset.
[[nodiscard]] WallTime wall_now();

class TurnParticipant {
 public:
  virtual ~TurnParticipant() = default;
  virtual void end_turn(Instant now) = 0;
  [[nodiscard]] virtual std::optional<Instant> next_timeout() const = 0;
};

class EventLoop {
 public:
  using Handler = std::function<void(std::uint32_t epoll_events)>;
  using Task = std::function<void()>;

  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// `events` are EPOLL* flags. Handlers may add and remove descriptors, also their own.
  void add(int fd, std::uint32_t events, Handler handler);
  void modify(int fd, std::uint32_t events);
  void remove(int fd);

  /// From any thread. False when the mailbox (4096 tasks) is full or the loop has stopped: the caller decides.
  [[nodiscard]] bool post(Task task);

  void add_participant(TurnParticipant& participant);
  void remove_participant(TurnParticipant& participant);

  /// Time of this turn; the same for everything that happens in it.
  [[nodiscard]] Instant now() const;
  /// Turns until stop(). A loop that was stopped stays stopped.
  void run();
  /// One turn that sleeps at most `wait_max`; false once the loop has been stopped. For tests and for embedding.
  bool run_turn(Duration wait_max);
  /// From any thread or a signal handler's task. The turn in progress ends first.
  void stop();
  /// Polls for up to `longest` before it sleeps, but only while descriptors were ready within the last millisecond,
  /// so that an idle process never spins. 0, the default, switches it off; more than 50 us is cut.
  void set_spin(Duration longest);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace postern::runtime
