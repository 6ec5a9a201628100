// Signals as events of the loop (signalfd): a handler runs like any other, on the loop's thread.
#pragma once

#include <functional>
#include <initializer_list>

#include "runtime/loop/descriptor.hpp"
#include "runtime/loop/event_loop.hpp"

namespace postern::runtime {

class SignalWatcher {
 public:
  /// `number` is the signal that arrived, such as SIGTERM.
  using Handler = std::function<void(int number)>;

  /// Blocks `signals` in this thread and in every thread started later: make it before any thread. Also ignores
  /// SIGPIPE for the process, because a write to a closed socket is an ordinary error here.
  SignalWatcher(EventLoop& loop, std::initializer_list<int> signals, Handler handler);
  ~SignalWatcher();
  SignalWatcher(const SignalWatcher&) = delete;
  SignalWatcher& operator=(const SignalWatcher&) = delete;

 private:
  void handle_readable();

  EventLoop& loop_;
  Handler handler_;
  Descriptor fd_;
};

}  // namespace postern::runtime
