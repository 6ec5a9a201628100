// The master key: 32 bytes in a file of its own (0600), under which secrets at rest are sealed. It protects backups of
// the database, which never contain it, and not a server that was taken over.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/random.hpp"
#include "controller_core/records.hpp"
#include "identity/tokens.hpp"
#include "model/ids.hpp"

namespace postern::runtime {

enum class MasterKeyErrorKind : std::uint8_t {
  NotFound,
  Exists,
  TooOpen,    ///< others may read or write it: mode is not 0600 or 0400, or another user owns it
  Malformed,  ///< not 64 hexadecimal digits and a newline
  Unreadable,
  Io,
  WrongKey,  ///< a secret was sealed under another master key, or is damaged
};
struct MasterKeyError {
  MasterKeyErrorKind kind;
  std::string message;  ///< one sentence for people
};

/// Writes a fresh key with mode 0600 and syncs file and folder; never replaces one.
[[nodiscard]] std::expected<identity::SealKey, MasterKeyError> create_master_key(const std::filesystem::path& file,
                                                                                 RandomSource& random);
[[nodiscard]] std::expected<identity::SealKey, MasterKeyError> load_master_key(const std::filesystem::path& file);

/// Bound to its Network and name: a sealed secret cannot be moved to another row.
[[nodiscard]] controller::SecretRecord seal_secret(const identity::SealKey& master, model::NetworkId network,
                                                   std::string_view name, ByteView plain, RandomSource& random);
[[nodiscard]] std::expected<Bytes, MasterKeyError> open_secret(const identity::SealKey& master,
                                                               model::NetworkId network,
                                                               const controller::SecretRecord& secret);

}  // namespace postern::runtime
