#include "services/client/journal.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/loop/descriptor.hpp"
#include "runtime/os/files.hpp"
#include "services/client/dns/network_manager_dns.hpp"
#include "services/client/dns/resolvconf_dns.hpp"
#include "services/client/json_fields.hpp"
#include "services/client/resolv_conf.hpp"

namespace postern::client {

namespace {

constexpr std::size_t kFileMax = 64 * 1024;
constexpr std::array<std::string_view, 4> kKinds = {"missing", "regular", "symlink", "bind mount"};
constexpr std::array<std::string_view, 3> kMethods = {"file", "resolvconf", "NetworkManager"};
/// Longer than what a program is given that works on DNS.
constexpr std::chrono::seconds kLockMax{30};
constexpr std::chrono::milliseconds kLockLook{1000};
/// 1 knew the method "file" only.
constexpr int kVersion = 2;

std::string failure(const std::string& what, const std::string& path) {
  return what + " " + path + " failed: " + std::strerror(errno);
}

std::expected<JournalLock, std::string> open_lock(const std::string& directory) {
  const std::string path = directory + "/journal.lock";
  runtime::Descriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  // The state folder may have become read-only since: what was changed must be undone all the same.
  if (!fd && errno == EROFS) fd = runtime::Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return std::unexpected(failure("opening", path));
  return JournalLock(std::move(fd));
}

/// mountinfo(5): the fifth field is the mount point.
bool is_mount_point(const std::string& path) {
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    std::size_t at = 0;
    for (int field = 0; field < 4 && at != std::string::npos; ++field) at = line.find(' ', at + 1);
    if (at == std::string::npos) continue;
    const std::size_t end = line.find(' ', at + 1);
    if (line.substr(at + 1, end - at - 1) == path) return true;
  }
  return false;
}

/// In one write and then cut to size, so that no reader finds the file empty.
std::expected<void, std::string> write_in_place(const std::string& path, const std::string& content) {
  runtime::Descriptor fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return std::unexpected(failure("opening", path));
  std::size_t done = 0;
  while (done < content.size()) {
    const ssize_t n = ::write(fd.get(), content.data() + done, content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return std::unexpected(failure("writing", path));
    done += static_cast<std::size_t>(n);
  }
  if (::ftruncate(fd.get(), static_cast<off_t>(content.size())) != 0) return std::unexpected(failure("cutting", path));
  ::fsync(fd.get());
  return {};
}

/// A new file beside `path`; empty when its folder does not let us.
std::string write_beside(const std::string& path, const SavedFile& file) {
  const std::string beside = path + ".postern";
  ::unlink(beside.c_str());
  if (file.kind == FileKind::Symlink) return ::symlink(file.link_target.c_str(), beside.c_str()) == 0 ? beside : "";
  const runtime::Descriptor fd(::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) return "";
  const auto written = write_in_place(beside, file.content);
  if (file.owner != 0 || file.group != 0) (void)!::fchown(fd.get(), file.owner, file.group);
  if (!written || ::fchmod(fd.get(), file.mode & 07777) != 0) {
    ::unlink(beside.c_str());
    return "";
  }
  return beside;
}

/// Puts `file` at its path by one rename. False where that is impossible and the file itself has to be written: a mount
/// point (EBUSY), or a folder that is read-only while the file is not.
std::expected<bool, std::string> replace(const SavedFile& file) {
  if (file.kind == FileKind::Missing) {
    if (::unlink(file.path.c_str()) == 0 || errno == ENOENT) return true;
    return std::unexpected(failure("removing", file.path));
  }
  const std::string beside = write_beside(file.path, file);
  if (beside.empty()) return false;
  if (::rename(beside.c_str(), file.path.c_str()) == 0) return true;
  const int why = errno;
  ::unlink(beside.c_str());
  errno = why;
  if (why == EBUSY || why == EXDEV) return false;
  return std::unexpected(failure("replacing", file.path));
}

std::string current_content(const std::string& path) {
  return runtime::read_text_file(path, kFileMax).value_or(std::string{});
}

}  // namespace

std::string_view to_string(DnsMethod method) {
  return kMethods[static_cast<std::size_t>(method)];
}

std::string_view to_string(FileKind kind) {
  return kKinds[static_cast<std::size_t>(kind)];
}

Journal::Journal(std::string state_directory) : directory_(std::move(state_directory)) {}

JournalLock::~JournalLock() {
  // A service that a program has started may keep the descriptor for as long as it runs.
  if (fd_) ::flock(fd_.get(), LOCK_UN);
}

bool JournalLock::take() const {
  // Who has it closes it; who unlocks it while a program keeps it is noticed at the next look.
  const runtime::Descriptor closed(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  ::inotify_add_watch(closed.get(), ("/proc/self/fd/" + std::to_string(fd_.get())).c_str(), IN_CLOSE);
  const auto deadline = std::chrono::steady_clock::now() + kLockMax;
  while (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    pollfd event{closed.get(), POLLIN, 0};
    (void)::poll(&event, 1, static_cast<int>(kLockLook.count()));
    std::array<char, 4096> events{};
    (void)!::read(closed.get(), events.data(), events.size());
  }
  return true;
}

std::expected<JournalLock, std::string> Journal::hold() const {
  auto lock = open_lock(directory_);
  if (!lock || lock->take()) return lock;
  return std::unexpected("another process works on the host's DNS and does not end: see who has " + directory_ +
                         "/journal.lock open");
}

std::expected<SavedFile, std::string> Journal::save(const std::string& path) {
  SavedFile saved;
  saved.path = path;
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return saved;
    return std::unexpected(failure("reading", path));
  }
  saved.mode = info.st_mode & 07777;
  saved.owner = info.st_uid;
  saved.group = info.st_gid;
  if (S_ISLNK(info.st_mode)) {
    std::array<char, PATH_MAX> target{};
    const ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
    if (size < 0) return std::unexpected(failure("reading", path));
    saved.kind = FileKind::Symlink;
    saved.link_target.assign(target.data(), static_cast<std::size_t>(size));
    saved.content = current_content(path);  // a dangling link has none
    return saved;
  }
  auto content = runtime::read_text_file(path, kFileMax);
  if (!content) return std::unexpected(content.error().text);
  saved.kind = is_mount_point(path) ? FileKind::BindMount : FileKind::Regular;
  saved.content = std::move(*content);
  return saved;
}

std::expected<SavedFile, std::string> Journal::install(const std::string& owner, const std::string& path,
                                                       const std::string& content) {
  const auto held = hold();
  if (!held) return std::unexpected(held.error());
  auto original = save(path);
  if (!original) return std::unexpected(original.error());
  if (is_ours(original->content)) {
    // Ours already: what was there before stands in the journal, if anywhere.
    auto entry = read();
    if (!entry) return std::unexpected(entry.error());
    if (*entry && (*entry)->file.path == path) original = (*entry)->file;
  }
  const JournalEntry entry{owner, *original};
  if (const auto written = write(entry); !written) return std::unexpected(written.error());
  const SavedFile ours{path, FileKind::Regular, content, "", 0644, 0, 0};
  if (const auto done = put(entry, ours); !done) {
    // Half of it may stand there: back to what was.
    if (undo(entry, held->fd())) ::unlink(this->path().c_str());
    return std::unexpected(done.error());
  }
  return original;
}

std::expected<SavedFile, std::string> Journal::note(JournalEntry entry, const std::string& path) {
  const auto held = hold();
  if (!held) return std::unexpected(held.error());
  auto original = save(path);
  if (!original) return std::unexpected(original.error());
  if (names_server(original->content, entry.resolver)) {
    auto before = read();
    if (!before) return std::unexpected(before.error());
    if (*before && (*before)->file.path == path) original = (*before)->file;
  }
  entry.file = *original;
  if (const auto written = write(entry); !written) return std::unexpected(written.error());
  return original;
}

/// Writing in place is announced, so that after a crash in the middle of it the file counts as ours.
std::expected<void, std::string> Journal::put(JournalEntry entry, const SavedFile& file) const {
  const auto replaced = replace(file);
  if (!replaced) return std::unexpected(replaced.error());
  if (*replaced) return {};
  entry.in_place = true;
  if (const auto written = write(entry); !written) return written;
  if (const auto done = write_in_place(file.path, file.content); !done) return done;
  entry.in_place = false;
  return write(entry);
}

std::expected<PlayBack, std::string> Journal::undo(const JournalEntry& entry, int lock) const {
  std::expected<bool, std::string> ours = entry.in_place;
  switch (entry.method) {
    case DnsMethod::File:
      ours = *ours || is_ours(current_content(entry.file.path));
      break;
    case DnsMethod::Resolvconf:
      ours = undo_resolvconf(entry, lock);
      break;
    case DnsMethod::NetworkManager:
      ours = undo_network_manager(entry);
      break;
  }
  const bool is_left =
      entry.method == DnsMethod::File ? *ours : names_server(current_content(entry.file.path), entry.resolver);
  if (is_left) {
    if (const auto done = put(entry, entry.file); !done) return std::unexpected(done.error());
  }
  if (!ours) return std::unexpected(ours.error());
  return *ours ? PlayBack::Restored : PlayBack::LeftAlone;
}

std::expected<PlayBack, std::string> Journal::play_back(const std::optional<std::string>& owner) {
  const auto held = open_lock(directory_);
  if (!held) return std::unexpected(held.error());
  (void)held->take();
  const auto entry = read();
  if (!entry) return std::unexpected(entry.error());
  if (!*entry) return PlayBack::Nothing;
  if (owner && (*entry)->owner != *owner) return PlayBack::OtherOwner;
  const auto done = undo(**entry, held->fd());
  // A mount that is not there (yet, at boot) may still show what we wrote once it is.
  const bool is_away = (*entry)->file.kind == FileKind::BindMount && !is_mount_point((*entry)->file.path);
  if (done && !is_away) ::unlink(path().c_str());
  return done;
}

std::expected<std::optional<JournalEntry>, std::string> Journal::read() const {
  const auto text = runtime::read_text_file(path(), 4 * kFileMax);
  if (!text) {
    if (text.error().kind == runtime::FileErrorKind::NotFound) return std::optional<JournalEntry>{};
    return std::unexpected(text.error().text);
  }
  const auto json = nlohmann::json::parse(*text, nullptr, false);
  if (const auto version = number_field(json, "version"); version < 1 || version > kVersion) {
    return std::unexpected("the journal " + path() + " is damaged or of another version; it was left as it is");
  }
  JournalEntry entry;
  entry.owner = text_field(json, "owner");
  entry.file.path = text_field(json, "path");
  entry.file.link_target = text_field(json, "link_target");
  entry.file.mode = static_cast<mode_t>(number_field(json, "mode", 0644)) & 07777;
  entry.file.owner = static_cast<uid_t>(number_field(json, "uid"));
  entry.file.group = static_cast<gid_t>(number_field(json, "gid"));
  const auto content = from_base64url(text_field(json, "content"));
  const auto kind = std::ranges::find(kKinds, text_field(json, "kind"));
  const std::string method_word = text_field(json, "method");
  const auto method = method_word.empty() ? kMethods.begin() : std::ranges::find(kMethods, method_word);
  if (!content || kind == kKinds.end() || method == kMethods.end() || entry.file.path.empty()) {
    return std::unexpected("the journal " + path() + " is damaged; it was left as it is");
  }
  entry.method = static_cast<DnsMethod>(method - kMethods.begin());
  entry.record = text_field(json, "record");
  entry.program = text_field(json, "program");
  entry.resolver = text_field(json, "resolver");
  entry.in_place = flag_field(json, "in_place");
  entry.file.content = as_text(*content);
  entry.file.kind = static_cast<FileKind>(kind - kKinds.begin());
  return entry;
}

std::expected<void, std::string> Journal::write(const JournalEntry& entry) const {
  const nlohmann::json json = {{"version", kVersion},
                               {"owner", entry.owner},
                               {"path", entry.file.path},
                               {"kind", to_string(entry.file.kind)},
                               {"content", to_base64url(as_bytes(entry.file.content))},
                               {"link_target", entry.file.link_target},
                               {"mode", entry.file.mode},
                               {"uid", entry.file.owner},
                               {"gid", entry.file.group},
                               {"method", to_string(entry.method)},
                               {"record", entry.record},
                               {"program", entry.program},
                               {"resolver", entry.resolver},
                               {"in_place", entry.in_place}};
  const auto written = runtime::write_file_atomic(path(), as_bytes(json.dump()), 0600);
  if (!written) return std::unexpected(written.error().text);
  return {};
}

}  // namespace postern::client
