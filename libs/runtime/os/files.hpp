// Files: bounded reads, writes that are whole or not there, permissions of secrets, "only one instance".
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <expected>
#include <string>

#include "base/bytes.hpp"

namespace postern::runtime {

enum class FileErrorKind : std::uint8_t {
  NotFound,
  NoPermission,
  TooLarge,
  TooOpen,  ///< others than the owner may read or write a secret
  InUse,    ///< another process holds the lock
  Failed,   ///< everything else; `text` has the kernel's words
};

struct FileError {
  FileErrorKind kind = FileErrorKind::Failed;
  std::string text;  ///< one sentence for people, with the path
};

/// The whole file, or TooLarge. Follows symbolic links (container secrets are links).
[[nodiscard]] std::expected<Bytes, FileError> read_file(const std::string& path, std::size_t size_max);
[[nodiscard]] std::expected<std::string, FileError> read_text_file(const std::string& path, std::size_t size_max);

/// read_file() for secrets: refuses a file that group or others may read or write, or that belongs to somebody else
/// than this user or root.
[[nodiscard]] std::expected<Bytes, FileError> read_secret_file(const std::string& path, std::size_t size_max);

/// Writes a new file beside `path`, syncs it, renames it over `path` and syncs the folder: after a crash the old or
/// the new content is there, never a part. `mode` is not changed by the umask.
[[nodiscard]] std::expected<void, FileError> write_file_atomic(const std::string& path, ByteView bytes, mode_t mode);

/// The folder and its missing parents; an existing folder keeps its mode.
[[nodiscard]] std::expected<void, FileError> make_directories(const std::string& path, mode_t mode);

/// Held while it lives; freed by the kernel when the process dies. The file has the owner's process id.
class LockFile {
 public:
  [[nodiscard]] static std::expected<LockFile, FileError> acquire(const std::string& path);
  LockFile(LockFile&& other) noexcept;
  LockFile& operator=(LockFile&& other) noexcept;
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;
  ~LockFile();

 private:
  explicit LockFile(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace postern::runtime
