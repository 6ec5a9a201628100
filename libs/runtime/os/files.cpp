#include "runtime/os/files.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <utility>

namespace postern::runtime {
namespace {

class OwnedFd {
 public:
  explicit OwnedFd(int fd) : fd_(fd) {}
  ~OwnedFd() {
    if (fd_ >= 0) close(fd_);
  }
  OwnedFd(const OwnedFd&) = delete;
  OwnedFd& operator=(const OwnedFd&) = delete;
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

FileError error_of(int code, const char* doing, const std::string& path) {
  FileErrorKind kind = FileErrorKind::Failed;
  if (code == ENOENT || code == ENOTDIR) kind = FileErrorKind::NotFound;
  if (code == EACCES || code == EPERM || code == EROFS) kind = FileErrorKind::NoPermission;
  return {kind, std::string("cannot ") + doing + " " + path + ": " + std::generic_category().message(code)};
}

std::expected<Bytes, FileError> read_all(int fd, const std::string& path, std::size_t size_max) {
  Bytes bytes;
  std::array<std::uint8_t, 16384> part;
  for (;;) {
    const ssize_t got = read(fd, part.data(), part.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(error_of(errno, "read", path));
    if (got == 0) return bytes;
    if (bytes.size() + static_cast<std::size_t>(got) > size_max) {
      return std::unexpected(
          FileError{FileErrorKind::TooLarge, path + " is larger than " + std::to_string(size_max) + " bytes"});
    }
    bytes.insert(bytes.end(), part.data(), part.data() + got);
  }
}

bool write_all(int fd, ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t put = write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return true;
}

std::string folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

std::expected<Bytes, FileError> read_file(const std::string& path, std::size_t size_max) {
  const OwnedFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return std::unexpected(error_of(errno, "open", path));
  return read_all(fd.get(), path, size_max);
}

std::expected<std::string, FileError> read_text_file(const std::string& path, std::size_t size_max) {
  auto bytes = read_file(path, size_max);
  if (!bytes) return std::unexpected(bytes.error());
  return std::string(as_text(*bytes));
}

std::expected<Bytes, FileError> read_secret_file(const std::string& path, std::size_t size_max) {
  const OwnedFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return std::unexpected(error_of(errno, "open", path));
  struct stat status {};
  if (fstat(fd.get(), &status) != 0) return std::unexpected(error_of(errno, "look at", path));
  const bool foreign = status.st_uid != geteuid() && status.st_uid != 0;
  if (foreign || (status.st_mode & 0077) != 0) {
    return std::unexpected(
        FileError{FileErrorKind::TooOpen, path + " holds a secret but others may reach it; run: chmod 600 " + path});
  }
  return read_all(fd.get(), path, size_max);
}

std::expected<void, FileError> write_file_atomic(const std::string& path, ByteView bytes, mode_t mode) {
  std::string temporary = path + ".XXXXXX";
  OwnedFd fd(mkostemp(temporary.data(), O_CLOEXEC));
  if (fd.get() < 0) return std::unexpected(error_of(errno, "write", path));
  const bool written = write_all(fd.get(), bytes) && fchmod(fd.get(), mode) == 0 && fsync(fd.get()) == 0;
  if (!written || rename(temporary.c_str(), path.c_str()) != 0) {
    const int code = errno;
    unlink(temporary.c_str());
    return std::unexpected(error_of(code, "write", path));
  }
  const OwnedFd folder(open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() >= 0) fsync(folder.get());  // some file systems refuse it for folders; the rename stands anyway
  return {};
}

std::expected<void, FileError> make_directories(const std::string& path, mode_t mode) {
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (!part.empty() && mkdir(part.c_str(), mode) != 0 && errno != EEXIST) {
      const int code = errno;
      struct stat status {};  // a parent may exist in a folder that we may not write
      if (stat(part.c_str(), &status) != 0) return std::unexpected(error_of(code, "make the folder", part));
    }
    if (end == std::string::npos) return {};
  }
}

std::expected<LockFile, FileError> LockFile::acquire(const std::string& path) {
  OwnedFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (fd.get() < 0) return std::unexpected(error_of(errno, "open the lock", path));
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return std::unexpected(error_of(errno, "lock", path));
    const auto owner = read_all(fd.get(), path, 64);
    const std::string who = owner && !owner->empty() ? " (process " + std::string(as_text(*owner)) + ")" : "";
    return std::unexpected(FileError{FileErrorKind::InUse, "another instance is running" + who + "; it holds " + path});
  }
  const std::string pid = std::to_string(getpid());
  if (ftruncate(fd.get(), 0) != 0 || !write_all(fd.get(), as_bytes(pid))) {
    return std::unexpected(error_of(errno, "write", path));
  }
  return LockFile(fd.release());
}

LockFile::LockFile(LockFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
LockFile& LockFile::operator=(LockFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
LockFile::~LockFile() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace postern::runtime
