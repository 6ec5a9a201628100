#include "runtime/dns/file_watch.hpp"

#include <sys/epoll.h>
#include <sys/inotify.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace postern::runtime {

namespace {

constexpr std::uint32_t kFolderEvents = IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_CLOSE_WRITE;
/// A bind-mounted file has another folder than its path says, so it is watched for itself too.
constexpr std::uint32_t kFileEvents = IN_CLOSE_WRITE | IN_MODIFY;

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

}  // namespace

FileWatch::FileWatch(EventLoop& loop, std::function<void()> changed)
    : loop_(loop), changed_(std::move(changed)), fd_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
  if (fd_) loop_.add(fd_.get(), EPOLLIN, [this](std::uint32_t) { handle_readable(); });
}

FileWatch::~FileWatch() {
  if (fd_) loop_.remove(fd_.get());
}

void FileWatch::add(const std::string& path) {
  paths_.push_back(path);
  refresh();
}

void FileWatch::refresh() {
  if (!fd_) return;
  // Watching the same again gives the same number: nothing piles up.
  for (const std::string& path : paths_) {
    const int folder = ::inotify_add_watch(fd_.get(), folder_of(path).c_str(), kFolderEvents);
    if (folder >= 0) folders_[folder] = folder_of(path);
    (void)::inotify_add_watch(fd_.get(), path.c_str(), kFileEvents);
  }
}

void FileWatch::handle_readable() {
  alignas(inotify_event) std::array<char, 4096> part{};
  bool concerns_us = false;
  while (true) {
    const ssize_t got = ::read(fd_.get(), part.data(), part.size());
    if (got <= 0) break;
    for (std::size_t at = 0; at < static_cast<std::size_t>(got);) {
      inotify_event event{};
      std::memcpy(&event, part.data() + at, sizeof event);
      const std::string name = event.len > 0 ? part.data() + at + sizeof event : "";
      at += sizeof event + event.len;
      if ((event.mask & IN_IGNORED) != 0) folders_.erase(event.wd);
      const auto folder = folders_.find(event.wd);
      // Without a name it is the file itself; IN_Q_OVERFLOW may be anything.
      concerns_us |= name.empty() || (folder != folders_.end() &&
                                      std::ranges::find(paths_, folder->second + "/" + name) != paths_.end());
    }
  }
  if (!concerns_us) return;
  refresh();
  changed_();
}

}  // namespace postern::runtime
