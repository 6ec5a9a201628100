// Checks on the wire: STUN Binding between the two ends of a session (PROTOCOL.md §4.6).
//
// Each direction has a key of its own, so what an end has sent never fits when it comes back. A message that is not
// right in every way gets no answer, so that nobody learns that there is something.
#pragma once

#include <array>
#include <optional>

#include "base/bytes.hpp"
#include "base/ip.hpp"
#include "wire/stun.hpp"

namespace postern::path {

/// Names the session to the one who gets a check: 8 bytes, on the wire as 16 hexadecimal digits.
using SessionTag = std::array<std::uint8_t, 8>;

struct CheckKeys {
  Digest send{};     ///< for what this end sends: requests and answers
  Digest receive{};  ///< for what the peer sends
  SessionTag tag{};
};

/// Labels and contexts of the TLS exporter that the keys come from.
inline constexpr std::string_view kExporterLabel = "EXPORTER-postern-check";
inline constexpr std::string_view kClientContext = "client";
inline constexpr std::string_view kConnectorContext = "connector";
inline constexpr std::string_view kTagContext = "tag";
/// The three exported values as keys of one end.
[[nodiscard]] CheckKeys make_check_keys(const Digest& own, const Digest& peers, const Digest& tag);

inline constexpr std::size_t kCheckSizeMax = 128;

/// The tag in the USERNAME of a Binding request; nothing for other messages.
[[nodiscard]] std::optional<SessionTag> tag_of(const wire::StunView& message);

/// Both write into `buffer` of at least kCheckSizeMax bytes. A request is no smaller than its answer.
[[nodiscard]] ByteView write_request(MutableBytes buffer, const CheckKeys& keys, wire::HmacSha256 hmac,
                                     const wire::TransactionId& transaction, std::uint64_t counter);
[[nodiscard]] ByteView write_answer(MutableBytes buffer, const CheckKeys& keys, wire::HmacSha256 hmac,
                                    const wire::TransactionId& transaction, const SocketAddress& seen);

/// The counter of a request that the peer has made for this session.
[[nodiscard]] std::optional<std::uint64_t> read_request(const wire::StunView& message, const CheckKeys& keys,
                                                        wire::HmacSha256 hmac);
/// What the peer saw of us, from an answer that it has made.
[[nodiscard]] std::optional<SocketAddress> read_answer(const wire::StunView& message, const CheckKeys& keys,
                                                       wire::HmacSha256 hmac);

}  // namespace postern::path
