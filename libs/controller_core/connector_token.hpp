// The access token of a connector (PROTOCOL.md §5.2): it says where the server is and how to know it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/random.hpp"
#include "controller_core/records.hpp"
#include "identity/keys.hpp"

namespace postern::controller {

/// SHA-256 of the SubjectPublicKeyInfo of the first certificate in `pem`; nothing when there is none.
[[nodiscard]] std::optional<Digest> certificate_key_digest(std::string_view pem);

[[nodiscard]] std::string make_access_token(const NetworkRecord& network, const ConnectorRecord& connector,
                                            const identity::PrivateKey& signing, WallTime now, RandomSource& random);

}  // namespace postern::controller
