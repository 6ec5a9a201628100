#include "runtime/http/io_loop.hpp"

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>

namespace postern::runtime {

namespace asio = boost::asio;

struct IoLoop::Impl {
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work = asio::make_work_guard(context);
  asio::signal_set signals{context};
  std::function<void(int)> signal_task;
  std::atomic<std::size_t> posted = 0;

  void wait_for_signal() {
    signals.async_wait([this](const boost::system::error_code& error, int number) {
      if (error) return;
      signal_task(number);
      wait_for_signal();
    });
  }
};

IoLoop::IoLoop() : impl_(std::make_unique<Impl>()) {}
IoLoop::~IoLoop() = default;

bool IoLoop::post(Task task) {
  if (impl_->posted.fetch_add(1) >= kPostedMax) {
    impl_->posted.fetch_sub(1);
    return false;
  }
  asio::post(impl_->context, [impl = impl_.get(), task = std::move(task)] {
    impl->posted.fetch_sub(1);
    task();
  });
  return true;
}

void IoLoop::on_signals(const std::vector<int>& signals, std::function<void(int)> task) {
  for (const int number : signals) impl_->signals.add(number);
  impl_->signal_task = std::move(task);
  impl_->wait_for_signal();
}

void IoLoop::run() {
  impl_->context.run();
}
void IoLoop::stop() {
  impl_->context.stop();
}
asio::io_context& IoLoop::context() {
  return impl_->context;
}

struct Timer::Impl {
  explicit Impl(asio::io_context& context) : timer(context) {}
  asio::steady_timer timer;
  std::uint64_t generation = 0;
};

Timer::Timer(IoLoop& loop) : impl_(std::make_shared<Impl>(loop.context())) {}
Timer::Timer(Timer&&) noexcept = default;
Timer& Timer::operator=(Timer&&) noexcept = default;
Timer::~Timer() {
  if (impl_) cancel();
}

void Timer::start(Duration after, IoLoop::Task task) {
  const std::uint64_t generation = ++impl_->generation;
  impl_->timer.expires_after(std::chrono::duration_cast<std::chrono::steady_clock::duration>(after));
  impl_->timer.async_wait(
      [weak = std::weak_ptr(impl_), generation, task = std::move(task)](const boost::system::error_code& error) {
        const auto impl = weak.lock();
        // A wait that has ended cannot be cancelled any more; the generation tells it from the present one.
        if (error || !impl || impl->generation != generation) return;
        task();
      });
}

void Timer::cancel() {
  ++impl_->generation;
  impl_->timer.cancel();
}

}  // namespace postern::runtime
