// The loop of a control-plane thread: Asio behind a header without Boost. TLS, HTTP and WebSocket run on it; the data
// plane has its own (runtime/loop), because the two want different things (ARCHITECTURE.md "Threads").
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/time.hpp"

namespace boost::asio {
class io_context;
}

namespace postern::runtime {

class IoLoop {
 public:
  using Task = std::function<void()>;
  /// Tasks that wait in post(); at the bound post() refuses.
  static constexpr std::size_t kPostedMax = 65'536;

  IoLoop();
  ~IoLoop();
  IoLoop(const IoLoop&) = delete;
  IoLoop& operator=(const IoLoop&) = delete;

  /// From any thread: runs `task` on the loop's thread. False at the bound: the task was dropped.
  bool post(Task task);
  /// Runs `task` on the loop's thread for each of these signals.
  void on_signals(const std::vector<int>& signals, std::function<void(int)> task);
  /// Runs until stop(); the caller's thread is the loop's thread.
  void run();
  /// From any thread. Pending operations never complete.
  void stop();
  [[nodiscard]] boost::asio::io_context& context();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// One deadline at a time, on the loop's thread. Its task never runs after cancel(), a new start() or its end.
class Timer {
 public:
  explicit Timer(IoLoop& loop);
  ~Timer();
  Timer(Timer&&) noexcept;
  Timer& operator=(Timer&&) noexcept;

  void start(Duration after, IoLoop::Task task);
  void cancel();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace postern::runtime
