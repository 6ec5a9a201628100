// Signing in (RFC 8628, PROTOCOL.md §7) and signing out: blocking requests on a thread of their own, results as tasks
// of the owner's loop. One at a time.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

#include "identity/keys.hpp"
#include "runtime/http/control_client.hpp"
#include "runtime/loop/event_loop.hpp"
#include "services/client/problem.hpp"
#include "services/client/server_url.hpp"
#include "services/client/state_store.hpp"

namespace postern::client {

/// What the person has to do.
struct Invitation {
  std::string url;
  std::string complete_url;  ///< with the code in it
  std::string code;
  int expires_in_s = 0;
};

struct SignInCallbacks {
  std::function<void(Invitation)> invited;
  std::function<void(std::expected<SignIn, Problem>)> done;
};

class SignInWorker {
 public:
  explicit SignInWorker(runtime::EventLoop& loop) : loop_(loop) {}
  /// Cancels and waits: at most one request (15 s) long.
  ~SignInWorker();
  SignInWorker(const SignInWorker&) = delete;
  SignInWorker& operator=(const SignInWorker&) = delete;

  [[nodiscard]] bool is_running() const { return run_ != nullptr; }
  /// Callbacks run on the loop, `done` exactly once unless cancelled.
  void start(ServerTarget target, identity::PrivateKey key, std::string device_name, SignInCallbacks callbacks);
  /// Tells the server to forget this device; `done` gets an empty text or why it could not be told.
  void start_sign_out(SignIn sign_in, identity::PrivateKey key, std::function<void(std::string)> done);
  /// No callback follows.
  void cancel();

 private:
  struct Run {
    /// Waits for `time` or for the cancellation; false when cancelled.
    [[nodiscard]] bool wait(std::chrono::milliseconds time);

    std::stop_source cancellation;
    std::atomic<bool> finished = false;
    std::thread thread;

   private:
    std::mutex mutex_;
    std::condition_variable_any woken_;
  };

  [[nodiscard]] std::shared_ptr<Run> begin();
  /// Posts `task` unless the run was cancelled; `last` ends the run.
  void deliver(const std::shared_ptr<Run>& run, std::function<void()> task, bool last);

  runtime::EventLoop& loop_;
  std::shared_ptr<Run> run_;
  std::vector<std::shared_ptr<Run>> old_;  ///< ended or cancelled, to be joined
};

/// Finds the server's addresses by the host's resolver; empty when it cannot. Blocks.
[[nodiscard]] std::vector<std::string> look_up(const std::string& host);

}  // namespace postern::client
