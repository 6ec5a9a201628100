#include "runtime/loop/signals.hpp"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <system_error>

namespace postern::runtime {

SignalWatcher::SignalWatcher(EventLoop& loop, std::initializer_list<int> signals, Handler handler)
    : loop_(loop), handler_(std::move(handler)) {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : signals) sigaddset(&set, number);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  fd_ = Descriptor(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd_) throw std::system_error(errno, std::generic_category(), "cannot watch signals");
  loop_.add(fd_.get(), EPOLLIN, [this](std::uint32_t) { handle_readable(); });
}

SignalWatcher::~SignalWatcher() {
  loop_.remove(fd_.get());
}

void SignalWatcher::handle_readable() {
  signalfd_siginfo info{};
  while (read(fd_.get(), &info, sizeof info) == sizeof info) handler_(static_cast<int>(info.ssi_signo));
}

}  // namespace postern::runtime
