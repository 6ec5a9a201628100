// Password hashes away from the controller's thread: two at once, 64 waiting (PROTOCOL.md §8). At the bound the caller
// is told so and answers 429.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/random.hpp"
#include "runtime/http/io_loop.hpp"

namespace postern::server {

class PasswordPool {
 public:
  static constexpr unsigned kThreads = 2;
  static constexpr std::size_t kWaitingMax = 64;

  explicit PasswordPool(runtime::IoLoop& loop);
  ~PasswordPool();

  /// `done` is called on the loop's thread. An empty `encoded` takes as long as a real one and is never right.
  [[nodiscard]] bool verify(std::string password, std::string encoded, std::function<void(bool)> done);
  [[nodiscard]] bool hash(std::string password, std::function<void(std::string)> done);

 private:
  using Job = std::function<void(RandomSource&)>;
  [[nodiscard]] bool add(Job job);
  void work();

  runtime::IoLoop& loop_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace postern::server
