#include "runtime/store/master_key.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "runtime/os/files.hpp"

namespace postern::runtime {

namespace {

constexpr std::size_t kTextSize = 64;  // 32 bytes in hexadecimal digits

std::unexpected<MasterKeyError> refuse(MasterKeyErrorKind kind, std::string message) {
  return std::unexpected(MasterKeyError{kind, std::move(message)});
}

std::unexpected<MasterKeyError> refuse(const FileError& error) {
  switch (error.kind) {
    case FileErrorKind::NotFound:
      return refuse(MasterKeyErrorKind::NotFound, error.text);
    case FileErrorKind::TooOpen:
      return refuse(MasterKeyErrorKind::TooOpen, error.text);
    case FileErrorKind::TooLarge:
      return refuse(MasterKeyErrorKind::Malformed, error.text);
    case FileErrorKind::NoPermission:
      return refuse(MasterKeyErrorKind::Unreadable, error.text);
    default:
      return refuse(MasterKeyErrorKind::Io, error.text);
  }
}

/// network ‖ "secret" ‖ name (records.hpp, SecretRecord).
Bytes associated_data(model::NetworkId network, std::string_view name) {
  Bytes result(8);
  ByteWriter(result).u64(network.value);
  for (const std::string_view part : {std::string_view("secret"), name}) {
    result.insert(result.end(), part.begin(), part.end());
  }
  return result;
}

}  // namespace

std::expected<identity::SealKey, MasterKeyError> create_master_key(const std::filesystem::path& file,
                                                                   RandomSource& random) {
  const auto key = random.make<identity::SealKey>();
  // Reserved first, so that two that start at once cannot both believe that their key is the one.
  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) {
    if (errno == EEXIST)
      return refuse(MasterKeyErrorKind::Exists, file.string() + " exists already: it is never replaced");
    return refuse(MasterKeyErrorKind::Io, "cannot make the master key " + file.string() + ": " + std::strerror(errno));
  }
  ::close(fd);
  const std::string text = to_hex(key) + '\n';
  if (const auto written = write_file_atomic(file.string(), as_bytes(text), 0600); !written)
    return refuse(written.error());
  return key;
}

std::expected<identity::SealKey, MasterKeyError> load_master_key(const std::filesystem::path& file) {
  const auto content = read_secret_file(file.string(), kTextSize + 2);
  if (!content) return refuse(content.error());
  std::string_view text = as_text(*content);
  if (text.ends_with('\n')) text.remove_suffix(1);
  const auto bytes = text.size() == kTextSize ? from_hex(text) : std::nullopt;
  if (!bytes) {
    return refuse(MasterKeyErrorKind::Malformed,
                  file.string() + " is not a master key (64 hexadecimal digits): bring it back from where it is kept");
  }
  identity::SealKey key{};
  std::ranges::copy(*bytes, key.begin());
  return key;
}

controller::SecretRecord seal_secret(const identity::SealKey& master, model::NetworkId network, std::string_view name,
                                     ByteView plain, RandomSource& random) {
  return {std::string(name), identity::seal(plain, master, associated_data(network, name), random)};
}

std::expected<Bytes, MasterKeyError> open_secret(const identity::SealKey& master, model::NetworkId network,
                                                 const controller::SecretRecord& secret) {
  auto plain = identity::open_sealed(secret.sealed, master, associated_data(network, secret.name));
  if (!plain) {
    return refuse(MasterKeyErrorKind::WrongKey,
                  "the secret " + secret.name + " does not open: the master key is not the one of this database");
  }
  return std::move(*plain);
}

}  // namespace postern::runtime
