// Tells when one of a few small files is written, replaced, removed or appears (inotify).
//
// The folder is watched for changes of names, the file itself for being written in place; a file behind a link has its
// own path and is added for itself. Folders that are not there yet are looked for again at each refresh().
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "runtime/loop/descriptor.hpp"
#include "runtime/loop/event_loop.hpp"

namespace postern::runtime {

class FileWatch {
 public:
  /// `loop` outlives it; `changed` is called on its thread, once for all that was read at a time. Where the kernel
  /// refuses (no inotify instance left), it is never called.
  FileWatch(EventLoop& loop, std::function<void()> changed);
  ~FileWatch();
  FileWatch(const FileWatch&) = delete;
  FileWatch& operator=(const FileWatch&) = delete;

  void add(const std::string& path);
  /// Takes up files and folders that have come since.
  void refresh();

 private:
  void handle_readable();

  EventLoop& loop_;
  std::function<void()> changed_;
  Descriptor fd_;
  std::vector<std::string> paths_;
  std::map<int, std::string> folders_;  ///< by watch; the files by name
};

}  // namespace postern::runtime
