// Checks key and certificate before an Endpoint is built on them.
#pragma once

#include <optional>

#include "session/types.hpp"

namespace postern::session {

/// The digest that peers pin (SHA-256 of the DER SubjectPublicKeyInfo); nothing when key or certificate cannot be read,
/// do not belong together, or the key is not on P-256.
[[nodiscard]] std::optional<Digest> credentials_digest(const Credentials& credentials);

}  // namespace postern::session
