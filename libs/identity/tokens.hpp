// Signed and sealed permissions: leases, connector access tokens, knocks, relay tickets, secrets at rest
// (PROTOCOL.md §3.1, §4.2, §5).
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "base/random.hpp"
#include "base/route_id.hpp"
#include "base/time.hpp"
#include "identity/keys.hpp"

namespace postern::identity {

inline constexpr std::size_t kTokenSizeMax = 64 * 1024;
inline constexpr std::chrono::seconds kClockTolerance{60};

enum class TokenError : std::uint8_t {
  Malformed,       ///< not a JWT, not JSON, too large, a claim missing or of the wrong type
  WrongType,       ///< another `typ`
  WrongAlgorithm,  ///< not ES256
  UnknownKey,      ///< `kid` outside the pinned set
  BadSignature,
  WrongAudience,
  WrongIssuer,
  NotYetValid,
  Expired,
  WrongKey,  ///< `cnf` is not the peer's key
};
[[nodiscard]] std::string_view to_string(TokenError error);

/// Verification keys by `kid`; the kid of a key is base64url of the first 8 bytes of its digest.
using KeySet = std::map<std::string, PublicKey, std::less<>>;
[[nodiscard]] std::string key_id(const PublicKey& key);

struct ResourceGrant {
  std::uint64_t resource_id = 0;
  std::int64_t expires_at = 0;  ///< Unix seconds
};

/// PROTOCOL.md §5.1
struct Lease {
  std::string issuer;
  std::uint64_t remote_network_id = 0;
  std::uint64_t user_id = 0;
  std::uint64_t device_id = 0;
  std::string email;
  Digest device_key{};
  std::vector<ResourceGrant> resources;
  std::uint64_t policy_version = 0;
  std::int64_t issued_at = 0;   ///< Unix seconds
  std::int64_t expires_at = 0;  ///< Unix seconds
};
[[nodiscard]] std::string sign_lease(const Lease& lease, const PrivateKey& key);
struct LeaseExpectation {
  std::string_view issuer;
  std::uint64_t remote_network_id = 0;
  Digest peer_key{};
};
[[nodiscard]] std::expected<Lease, TokenError> verify_lease(std::string_view jwt, const KeySet& keys,
                                                            const LeaseExpectation& expected, WallTime now);

/// PROTOCOL.md §5.2
struct AccessToken {
  std::string network;
  std::uint64_t network_id = 0;
  std::uint64_t connector_id = 0;
  std::uint64_t remote_network_id = 0;
  std::string url;
  std::string ca;  ///< base64url digest of the root key, empty with a public certificate
  std::string jti;
  std::int64_t issued_at = 0;
  std::int64_t expires_at = 0;
};
[[nodiscard]] std::string sign_access_token(const AccessToken& token, const PrivateKey& key);
/// What the holder may read from its own token without a key: where its server is. Proves nothing.
[[nodiscard]] std::expected<AccessToken, TokenError> read_access_token_unverified(std::string_view jwt);
[[nodiscard]] std::expected<AccessToken, TokenError> verify_access_token(std::string_view jwt, const KeySet& keys,
                                                                         std::string_view network, WallTime now);

/// "ptr1_" and 32 random bytes.
[[nodiscard]] std::string make_refresh_token(RandomSource& random);
[[nodiscard]] bool is_refresh_token_shaped(std::string_view token);
/// "prl1_" and 32 random bytes (PROTOCOL.md §6.1).
[[nodiscard]] std::string make_relay_token(RandomSource& random);
[[nodiscard]] bool is_relay_token_shaped(std::string_view token);

/// PROTOCOL.md §4.2
inline constexpr std::size_t kKnockSize = 81;
struct Knock {
  Digest device{};
  std::uint64_t instance_id = 0;
  std::int64_t expires_at = 0;  ///< Unix seconds
};
enum class KnockError : std::uint8_t { Malformed, BadMac, WrongInstance, Expired };
[[nodiscard]] Bytes make_knock(const Knock& knock, ByteView knock_key);
[[nodiscard]] std::expected<Knock, KnockError> verify_knock(ByteView token, ByteView knock_key,
                                                            std::uint64_t instance_id, WallTime now);

/// PROTOCOL.md §3.1
enum class RelayRole : std::uint8_t { Client = 1, Connector = 2 };
struct RelayTicket {
  std::uint64_t network_id = 0;
  RouteId route;
  RelayRole role = RelayRole::Client;
  std::array<std::uint8_t, 32> mac_key{};
  std::int64_t not_before = 0;  ///< Unix seconds
  std::uint32_t lifetime_s = 0;
  std::uint64_t rate_bytes_per_s = 0;  ///< 0: no limit
};
using SealKey = std::array<std::uint8_t, 32>;
[[nodiscard]] Bytes seal_ticket(const RelayTicket& ticket, const SealKey& key, std::string_view relay_name,
                                RandomSource& random);
[[nodiscard]] std::expected<RelayTicket, TokenError> open_ticket(ByteView sealed, const SealKey& key,
                                                                 std::string_view relay_name, WallTime now);
/// The two halves of open_ticket(), for a relay that answers the holder of an outdated ticket with a MAC.
[[nodiscard]] std::expected<RelayTicket, TokenError> unseal_ticket(ByteView sealed, const SealKey& key,
                                                                   std::string_view relay_name);
[[nodiscard]] std::expected<void, TokenError> check_ticket_times(const RelayTicket& ticket, WallTime now);

/// AES-256-GCM: [nonce 12][ciphertext][tag 16]. Also for secrets at rest, AAD = network, table, row.
[[nodiscard]] Bytes seal(ByteView plain, const SealKey& key, ByteView associated, RandomSource& random);
[[nodiscard]] std::optional<Bytes> open_sealed(ByteView sealed, const SealKey& key, ByteView associated);

}  // namespace postern::identity
