#include "runtime/loop/event_loop.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

namespace postern::runtime {
namespace {

constexpr std::size_t kMailboxMax = 4096;
/// Descriptors reported by one wait; the rest comes with the next turn, so no handler waits for thousands of others.
constexpr std::size_t kEventsPerTurn = 256;
constexpr Duration kSpinMax = std::chrono::microseconds(50);
constexpr Duration kTrafficMemory = std::chrono::milliseconds(1);
/// Without a deadline the loop still wakes up now and then; costs nothing and hides no lost wake-up for ever.
constexpr Duration kWaitMax = std::chrono::seconds(60);

std::int64_t read_clock(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

std::uint64_t to_key(int fd, std::uint32_t generation) {
  return (std::uint64_t{generation} << 32) | static_cast<std::uint32_t>(fd);
}

}  // namespace

Instant monotonic_now() {
  return Instant{Duration{read_clock(CLOCK_BOOTTIME)}};
}

WallTime wall_now() {
  return from_unix_ms(read_clock(CLOCK_REALTIME) / 1'000'000);
}

class EventLoop::Impl {
 public:
  Impl() : epoll_(epoll_create1(EPOLL_CLOEXEC)), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), now_(monotonic_now()) {
    if (epoll_ < 0 || wake_ < 0) fail("cannot make an event loop");
    add(wake_, EPOLLIN, [this](std::uint32_t) { empty_wake(); });
  }
  ~Impl() {
    close(epoll_);
    close(wake_);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void add(int fd, std::uint32_t events, Handler handler) {
    const auto index = static_cast<std::size_t>(fd);
    if (index >= entries_.size()) entries_.resize(index + 1);
    Entry& entry = entries_[index];
    entry.handler = std::make_shared<Handler>(std::move(handler));
    ++entry.generation;
    epoll_event event{events, {.u64 = to_key(fd, entry.generation)}};
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) fail("cannot watch a descriptor");
  }

  void modify(int fd, std::uint32_t events) {
    epoll_event event{events, {.u64 = to_key(fd, entries_.at(static_cast<std::size_t>(fd)).generation)}};
    if (epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event) != 0) fail("cannot change a watched descriptor");
  }

  void remove(int fd) {
    const auto index = static_cast<std::size_t>(fd);
    if (index >= entries_.size() || !entries_[index].handler) return;
    entries_[index].handler.reset();
    ++entries_[index].generation;
    epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
  }

  bool post(Task task) {
    {
      const std::lock_guard lock(mailbox_mutex_);
      if (stopped_ || mailbox_.size() >= kMailboxMax) return false;
      mailbox_.push_back(std::move(task));
    }
    wake();
    return true;
  }

  void stop() {
    {
      const std::lock_guard lock(mailbox_mutex_);
      stopped_ = true;
    }
    wake();
  }

  bool run_turn(Duration wait_max) {
    if (stopped_) return false;
    const std::size_t ready = wait(wait_max);
    now_ = monotonic_now();
    dispatch(ready);
    run_mailbox();
    end_turn();
    return !stopped_;
  }

  void add_participant(TurnParticipant& participant) { participants_.push_back(&participant); }
  void remove_participant(TurnParticipant& participant) {
    // The place is kept, so that a participant may leave while end_turn() walks the list.
    std::replace(participants_.begin(), participants_.end(), &participant, static_cast<TurnParticipant*>(nullptr));
  }

  [[nodiscard]] Instant now() const { return now_; }
  void set_spin(Duration longest) { spin_ = std::clamp(longest, Duration::zero(), kSpinMax); }

 private:
  struct Entry {
    std::shared_ptr<Handler> handler;
    std::uint32_t generation = 0;  ///< so that an event of a descriptor that was closed reaches nobody else
  };

  [[nodiscard]] Duration until_deadline(Duration wait_max) const {
    Duration wait = std::min(wait_max, kWaitMax);
    const Instant now = monotonic_now();
    for (const TurnParticipant* participant : participants_) {
      if (participant == nullptr) continue;
      if (const auto deadline = participant->next_timeout()) wait = std::min(wait, *deadline - now);
    }
    return std::max(wait, Duration::zero());
  }

  std::size_t wait(Duration wait_max) {
    const Duration sleep = until_deadline(wait_max);
    if (const std::size_t ready = spin(sleep); ready > 0) return ready;
    const std::size_t ready = poll(sleep);
    return ready;
  }

  /// Polls without sleeping while traffic flows: a wake-up of a sleeping thread costs tens of microseconds in a VM.
  std::size_t spin(Duration sleep) {
    if (spin_ <= Duration::zero() || sleep <= Duration::zero()) return 0;
    const Instant start = monotonic_now();
    if (start - last_traffic_ > kTrafficMemory) return 0;
    const Instant end = start + std::min(sleep, spin_);
    do {
      if (const std::size_t ready = poll(Duration::zero()); ready > 0) return ready;
    } while (monotonic_now() < end);
    return 0;
  }

  std::size_t poll(Duration sleep) {
    const timespec timeout{sleep.count() / 1'000'000'000, sleep.count() % 1'000'000'000};
    int ready = epoll_pwait2(epoll_, events_.data(), static_cast<int>(events_.size()), &timeout, nullptr);
    if (ready < 0 && errno == ENOSYS) {  // before Linux 5.11: whole milliseconds, rounded up
      const auto ms = static_cast<int>((sleep.count() + 999'999) / 1'000'000);
      ready = epoll_wait(epoll_, events_.data(), static_cast<int>(events_.size()), ms);
    }
    if (ready < 0 && errno != EINTR) fail("cannot wait for events");
    return ready < 0 ? 0 : static_cast<std::size_t>(ready);
  }

  void dispatch(std::size_t ready) {
    for (std::size_t i = 0; i < ready; ++i) {
      const auto fd = static_cast<std::uint32_t>(events_[i].data.u64);
      const auto generation = static_cast<std::uint32_t>(events_[i].data.u64 >> 32);
      const Entry& entry = entries_[fd];
      if (!entry.handler || entry.generation != generation) continue;  // removed earlier in this turn
      if (static_cast<int>(fd) != wake_) last_traffic_ = now_;
      const std::shared_ptr<Handler> keep = entry.handler;  // it may remove itself
      (*keep)(events_[i].events);
    }
  }

  void run_mailbox() {
    {
      const std::lock_guard lock(mailbox_mutex_);
      running_.swap(mailbox_);
    }
    for (Task& task : running_) task();
    running_.clear();
  }

  void end_turn() {
    for (std::size_t i = 0; i < participants_.size(); ++i) {
      if (participants_[i] != nullptr) participants_[i]->end_turn(now_);
    }
    std::erase(participants_, nullptr);
  }

  void wake() const {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof one);
  }
  void empty_wake() const {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(wake_, &count, sizeof count);
  }

  int epoll_;
  int wake_;
  std::vector<Entry> entries_;  ///< by descriptor
  std::array<epoll_event, kEventsPerTurn> events_{};
  std::vector<TurnParticipant*> participants_;
  std::mutex mailbox_mutex_;
  std::vector<Task> mailbox_;
  std::vector<Task> running_;
  std::atomic<bool> stopped_ = false;
  Instant now_;
  Instant last_traffic_{};
  Duration spin_{};
};

EventLoop::EventLoop() : impl_(std::make_unique<Impl>()) {}
EventLoop::~EventLoop() = default;

void EventLoop::add(int fd, std::uint32_t events, Handler handler) {
  impl_->add(fd, events, std::move(handler));
}
void EventLoop::modify(int fd, std::uint32_t events) {
  impl_->modify(fd, events);
}
void EventLoop::remove(int fd) {
  impl_->remove(fd);
}
bool EventLoop::post(Task task) {
  return impl_->post(std::move(task));
}
void EventLoop::add_participant(TurnParticipant& participant) {
  impl_->add_participant(participant);
}
void EventLoop::remove_participant(TurnParticipant& participant) {
  impl_->remove_participant(participant);
}
Instant EventLoop::now() const {
  return impl_->now();
}
bool EventLoop::run_turn(Duration wait_max) {
  return impl_->run_turn(wait_max);
}
void EventLoop::stop() {
  impl_->stop();
}
void EventLoop::set_spin(Duration longest) {
  impl_->set_spin(longest);
}

void EventLoop::run() {
  while (impl_->run_turn(kWaitMax)) {
  }
}

}  // namespace postern::runtime
