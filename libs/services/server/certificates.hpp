// The server's own CA: its leaf, and when that has to be made again (PROTOCOL.md §5.4).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/random.hpp"
#include "base/time.hpp"
#include "identity/keys.hpp"
#include "services/server/public_address.hpp"

namespace postern::server {

/// Browsers refuse longer ones; agents do not look at dates.
inline constexpr std::chrono::days kLeafLife{397};
inline constexpr std::chrono::days kLeafRenewBefore{30};

struct Leaf {
  identity::PrivateKey key{};
  std::string certificate_pem{};
  std::string host{};  ///< for which it was made
  WallTime not_after{};

  [[nodiscard]] bool must_renew(std::string_view wanted_host, WallTime now) const {
    return host != wanted_host || now + kLeafRenewBefore > not_after;
  }
  /// Key and certificate as one text, to be sealed; and back.
  [[nodiscard]] Bytes encode() const;
  [[nodiscard]] static std::optional<Leaf> decode(ByteView bytes);
};

/// Nothing when the root does not fit its certificate.
[[nodiscard]] std::optional<Leaf> make_leaf(const identity::PrivateKey& root, std::string_view root_pem,
                                            const PublicAddress& address, WallTime now, RandomSource& random);

/// "https://HOST[:PORT]/#ca=<digest>", without the fragment when there is no root.
[[nodiscard]] std::string enrolment_url(std::string_view url, const std::optional<Digest>& root_digest);

}  // namespace postern::server
