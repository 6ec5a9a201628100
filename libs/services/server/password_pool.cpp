#include "services/server/password_pool.hpp"

#include "runtime/os/random.hpp"
#include "runtime/store/password.hpp"

namespace postern::server {

PasswordPool::PasswordPool(runtime::IoLoop& loop) : loop_(loop) {
  for (unsigned i = 0; i < kThreads; ++i) threads_.emplace_back([this] { work(); });
}

PasswordPool::~PasswordPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool PasswordPool::verify(std::string password, std::string encoded, std::function<void(bool)> done) {
  return add(
      [this, password = std::move(password), encoded = std::move(encoded), done = std::move(done)](RandomSource&) {
        const bool right = runtime::verify_password(password, encoded);
        loop_.post([done, right] { done(right); });
      });
}

bool PasswordPool::hash(std::string password, std::function<void(std::string)> done) {
  return add([this, password = std::move(password), done = std::move(done)](RandomSource& random) {
    loop_.post([done, encoded = runtime::hash_password(password, random)] { done(encoded); });
  });
}

bool PasswordPool::add(Job job) {
  {
    const std::lock_guard lock(mutex_);
    if (jobs_.size() >= kWaitingMax) return false;
    jobs_.push_back(std::move(job));
  }
  changed_.notify_one();
  return true;
}

void PasswordPool::work() {
  runtime::KernelRandom random;
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (stopping_) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job(random);
  }
}

}  // namespace postern::server
