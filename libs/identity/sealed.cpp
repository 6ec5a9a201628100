// What is not a JWT: AES-256-GCM boxes, the relay's tickets in them, and knocks (PROTOCOL.md §3.1, §4.2).
#include <limits>

#include "identity/openssl.hpp"
#include "identity/tokens.hpp"

namespace postern::identity {

namespace {

using openssl::CipherContext;
using openssl::ErrorScope;
using openssl::require;

constexpr std::size_t kNonceSize = 12;
constexpr std::size_t kTagSize = 16;
constexpr std::uint8_t kTicketVersion = 1;
constexpr std::size_t kTicketSize = 75;
constexpr std::array<std::uint8_t, 6> kTicketReserved{};
constexpr std::uint8_t kKnockVersion = 1;
constexpr std::size_t kKnockSigned = 49;

const EVP_CIPHER* aes_256_gcm() {
  static const EVP_CIPHER* const cipher = require(EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr));
  return cipher;
}

std::optional<RelayTicket> parse_ticket(ByteView plain) {
  ByteReader reader(plain);
  RelayTicket ticket;
  const std::uint8_t version = reader.u8();
  ticket.network_id = reader.u64();
  ticket.route.bytes = reader.array<7>();
  const std::uint8_t role = reader.u8();
  ticket.mac_key = reader.array<32>();
  const std::uint64_t not_before = reader.u64();
  ticket.lifetime_s = reader.u32();
  ticket.rate_bytes_per_s = reader.u64();
  const auto reserved = reader.array<kTicketReserved.size()>();
  if (!reader.ok() || reader.remaining() != 0 || version != kTicketVersion || reserved != kTicketReserved) {
    return std::nullopt;
  }
  if (role != static_cast<std::uint8_t>(RelayRole::Client) && role != static_cast<std::uint8_t>(RelayRole::Connector)) {
    return std::nullopt;
  }
  // Half of the range keeps `not_before` + lifetime inside it.
  if (not_before > std::numeric_limits<std::int64_t>::max() / 2) return std::nullopt;
  ticket.role = static_cast<RelayRole>(role);
  ticket.not_before = static_cast<std::int64_t>(not_before);
  return ticket;
}

}  // namespace

Bytes seal(ByteView plain, const SealKey& key, ByteView associated, RandomSource& random) {
  Bytes sealed(kNonceSize + plain.size() + kTagSize);
  random.fill(MutableBytes(sealed).first(kNonceSize));
  const CipherContext context(require(EVP_CIPHER_CTX_new()));
  require(EVP_EncryptInit_ex2(context.get(), aes_256_gcm(), key.data(), sealed.data(), nullptr) == 1);
  int size = 0;
  require(EVP_EncryptUpdate(context.get(), nullptr, &size, associated.data(), static_cast<int>(associated.size())) ==
          1);
  std::uint8_t* out = sealed.data() + kNonceSize;
  require(EVP_EncryptUpdate(context.get(), out, &size, plain.data(), static_cast<int>(plain.size())) == 1);
  require(EVP_EncryptFinal_ex(context.get(), out + size, &size) == 1);
  require(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, kTagSize, out + plain.size()) == 1);
  return sealed;
}

std::optional<Bytes> open_sealed(ByteView sealed, const SealKey& key, ByteView associated) {
  if (sealed.size() < kNonceSize + kTagSize || sealed.size() > std::numeric_limits<int>::max()) return std::nullopt;
  const ErrorScope scope;
  const ByteView body = sealed.subspan(kNonceSize, sealed.size() - kNonceSize - kTagSize);
  auto tag = ByteReader(sealed.last(kTagSize)).array<kTagSize>();
  const CipherContext context(require(EVP_CIPHER_CTX_new()));
  require(EVP_DecryptInit_ex2(context.get(), aes_256_gcm(), key.data(), sealed.data(), nullptr) == 1);
  int size = 0;
  require(EVP_DecryptUpdate(context.get(), nullptr, &size, associated.data(), static_cast<int>(associated.size())) ==
          1);
  Bytes plain(body.size());
  require(EVP_DecryptUpdate(context.get(), plain.data(), &size, body.data(), static_cast<int>(body.size())) == 1);
  require(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, kTagSize, tag.data()) == 1);
  if (EVP_DecryptFinal_ex(context.get(), plain.data() + plain.size(), &size) != 1) {
    OPENSSL_cleanse(plain.data(), plain.size());
    return std::nullopt;
  }
  return plain;
}

Bytes seal_ticket(const RelayTicket& ticket, const SealKey& key, std::string_view relay_name, RandomSource& random) {
  std::array<std::uint8_t, kTicketSize> plain{};
  ByteWriter writer(plain);
  writer.u8(kTicketVersion);
  writer.u64(ticket.network_id);
  writer.view(ticket.route.bytes);
  writer.u8(static_cast<std::uint8_t>(ticket.role));
  writer.view(ticket.mac_key);
  writer.u64(static_cast<std::uint64_t>(ticket.not_before));
  writer.u32(ticket.lifetime_s);
  writer.u64(ticket.rate_bytes_per_s);
  writer.view(kTicketReserved);
  require(writer.ok() && writer.size() == kTicketSize);
  return seal(plain, key, as_bytes(relay_name), random);
}

std::expected<RelayTicket, TokenError> unseal_ticket(ByteView sealed, const SealKey& key, std::string_view relay_name) {
  if (sealed.size() != kNonceSize + kTicketSize + kTagSize) return std::unexpected(TokenError::Malformed);
  const auto plain = open_sealed(sealed, key, as_bytes(relay_name));
  if (!plain) return std::unexpected(TokenError::BadSignature);
  const auto ticket = parse_ticket(*plain);
  if (!ticket) return std::unexpected(TokenError::Malformed);
  return *ticket;
}

std::expected<void, TokenError> check_ticket_times(const RelayTicket& ticket, WallTime now) {
  const std::int64_t seconds = to_unix_seconds(now);
  if (ticket.not_before > seconds + kClockTolerance.count()) return std::unexpected(TokenError::NotYetValid);
  // No tolerance at the end: agents get new tickets at half of the life, and LIFETIME counts down to this second.
  if (seconds >= ticket.not_before + ticket.lifetime_s) return std::unexpected(TokenError::Expired);
  return {};
}

std::expected<RelayTicket, TokenError> open_ticket(ByteView sealed, const SealKey& key, std::string_view relay_name,
                                                   WallTime now) {
  auto ticket = unseal_ticket(sealed, key, relay_name);
  if (!ticket) return ticket;
  if (const auto times = check_ticket_times(*ticket, now); !times) return std::unexpected(times.error());
  return ticket;
}

Bytes make_knock(const Knock& knock, ByteView knock_key) {
  Bytes token(kKnockSize);
  ByteWriter writer(token);
  writer.u8(kKnockVersion);
  writer.view(knock.device);
  writer.u64(knock.instance_id);
  writer.u64(static_cast<std::uint64_t>(knock.expires_at));
  writer.view(hmac_sha256(knock_key, writer.written()));
  require(writer.ok() && writer.size() == kKnockSize);
  return token;
}

std::expected<Knock, KnockError> verify_knock(ByteView token, ByteView knock_key, std::uint64_t instance_id,
                                              WallTime now) {
  if (token.size() != kKnockSize || token[0] != kKnockVersion) return std::unexpected(KnockError::Malformed);
  const Digest mac = hmac_sha256(knock_key, token.first(kKnockSigned));
  if (!equal_constant_time(mac, token.subspan(kKnockSigned))) return std::unexpected(KnockError::BadMac);
  ByteReader reader(token.subspan(1));
  Knock knock;
  knock.device = reader.array<32>();
  knock.instance_id = reader.u64();
  knock.expires_at = static_cast<std::int64_t>(reader.u64());
  if (knock.instance_id != instance_id) return std::unexpected(KnockError::WrongInstance);
  // A number above 2^63 reads as negative, and so as expired.
  if (knock.expires_at <= to_unix_seconds(now) - kClockTolerance.count()) return std::unexpected(KnockError::Expired);
  return knock;
}

}  // namespace postern::identity
