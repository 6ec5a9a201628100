// The journal of changes to the system: written before each change, played back when the daemon ends, however it ends.
//
// Three callers run the same code: the daemon at a clean stop, its watchdog when it died, and the next start (or
// `posternd --restore` from ExecStopPost= and at boot). A lock file serialises them, and the owner number keeps an old
// watchdog from undoing what a new daemon has done.
//
// What must be undone is the host's DNS only: the TUN device is not persistent, so the kernel removes it with all its
// routes when the daemon's descriptor closes, and systemd-resolved forgets what it knew about the link. Play-back
// leaves a file alone that somebody else has written since.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <expected>
#include <optional>
#include <string>

#include "base/bytes.hpp"
#include "runtime/loop/descriptor.hpp"

namespace postern::client {

enum class FileKind : std::uint8_t { Missing, Regular, Symlink, BindMount };
[[nodiscard]] std::string_view to_string(FileKind kind);

/// A file as it was before the first change.
struct SavedFile {
  std::string path;
  FileKind kind = FileKind::Missing;
  std::string content;      ///< of Regular and BindMount; of a link's target at that time, for reading the servers
  std::string link_target;  ///< of Symlink
  mode_t mode = 0644;
  uid_t owner = 0;
  gid_t group = 0;
};

/// How the host's DNS was changed, which says how to undo it.
enum class DnsMethod : std::uint8_t {
  File,            ///< the file itself: it is put back
  Resolvconf,      ///< a record given to resolvconf: it is taken away
  NetworkManager,  ///< a file of configuration in NetworkManager's volatile folder: it is removed, and it reads again
};
[[nodiscard]] std::string_view to_string(DnsMethod method);

struct JournalEntry {
  std::string owner;  ///< random, one per daemon process
  SavedFile file;     ///< /etc/resolv.conf; with the other methods the last resort, where their owner does not answer
  DnsMethod method = DnsMethod::File;
  std::string record{};    ///< Resolvconf: its name; NetworkManager: the path
  std::string program{};   ///< Resolvconf
  std::string resolver{};  ///< the other methods: the address that marks the file as changed by us
  bool in_place = false;   ///< File: it is being written where it is, so it may be half ours
};

enum class PlayBack : std::uint8_t {
  Nothing,     ///< no journal
  OtherOwner,  ///< a newer daemon's journal; left alone
  Restored,
  LeftAlone,  ///< somebody else has written the file since; the journal is gone
};

/// The lock that serialises the callers. It ends with this object; where a program that was started meanwhile has
/// inherited its descriptor and this process is killed, when that program has ended.
class JournalLock {
 public:
  explicit JournalLock(runtime::Descriptor fd) : fd_(std::move(fd)) {}
  JournalLock(JournalLock&&) = default;
  JournalLock& operator=(JournalLock&&) = delete;
  ~JournalLock();

  [[nodiscard]] int fd() const { return fd_.get(); }
  /// Waits for it. False when somebody else has had it for 30 s.
  [[nodiscard]] bool take() const;

 private:
  runtime::Descriptor fd_;
};

class Journal {
 public:
  explicit Journal(std::string state_directory);

  /// Reads the file as it is now. Errors are one sentence for people.
  [[nodiscard]] static std::expected<SavedFile, std::string> save(const std::string& path);

  /// Writes the journal, then `content` over the file: by an atomic rename, or in place where the file is a mount point
  /// or its folder cannot be written. What was ours before is not taken for the original.
  [[nodiscard]] std::expected<SavedFile, std::string> install(const std::string& owner, const std::string& path,
                                                              const std::string& content);
  /// Writes the journal for a change by another method that the caller is about to make; `entry.file` is filled in, and
  /// kept from an entry of before where the file names our resolver already.
  [[nodiscard]] std::expected<SavedFile, std::string> note(JournalEntry entry, const std::string& path);
  /// Undoes it. With `owner` only what that daemon did.
  [[nodiscard]] std::expected<PlayBack, std::string> play_back(const std::optional<std::string>& owner);
  [[nodiscard]] std::expected<std::optional<JournalEntry>, std::string> read() const;
  /// For a change that the caller makes by a program. Where nobody gives the lock back it is an error, but play-back
  /// goes on without it: what a stuck program holds must be undone all the same.
  [[nodiscard]] std::expected<JournalLock, std::string> hold() const;

 private:
  [[nodiscard]] std::string path() const { return directory_ + "/journal.json"; }
  [[nodiscard]] std::expected<void, std::string> write(const JournalEntry& entry) const;
  [[nodiscard]] std::expected<void, std::string> put(JournalEntry entry, const SavedFile& file) const;
  [[nodiscard]] std::expected<PlayBack, std::string> undo(const JournalEntry& entry, int lock) const;

  std::string directory_;
};

}  // namespace postern::client
