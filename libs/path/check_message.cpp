#include "path/check_message.hpp"

#include <algorithm>

namespace postern::path {

CheckKeys make_check_keys(const Digest& own, const Digest& peers, const Digest& tag) {
  CheckKeys keys{own, peers, {}};
  std::copy_n(tag.begin(), keys.tag.size(), keys.tag.begin());
  return keys;
}

std::optional<SessionTag> tag_of(const wire::StunView& message) {
  if (message.type() != wire::StunType::BindingRequest) return std::nullopt;
  const auto name = message.find(wire::StunAttribute::Username);
  if (!name) return std::nullopt;
  const auto bytes = from_hex(as_text(*name));
  SessionTag tag{};
  if (!bytes || bytes->size() != tag.size()) return std::nullopt;
  std::ranges::copy(*bytes, tag.begin());
  return tag;
}

ByteView write_request(MutableBytes buffer, const CheckKeys& keys, wire::HmacSha256 hmac,
                       const wire::TransactionId& transaction, std::uint64_t counter) {
  wire::StunBuilder builder(buffer, wire::StunType::BindingRequest, transaction);
  const std::string name = to_hex(keys.tag);
  builder.add(wire::StunAttribute::Username, as_bytes(name));
  builder.add_u64(wire::StunAttribute::CheckCounter, counter);
  return builder.finish_with_integrity(keys.send, hmac);
}

ByteView write_answer(MutableBytes buffer, const CheckKeys& keys, wire::HmacSha256 hmac,
                      const wire::TransactionId& transaction, const SocketAddress& seen) {
  wire::StunBuilder builder(buffer, wire::StunType::BindingSuccess, transaction);
  builder.add_mapped_address(seen);
  return builder.finish_with_integrity(keys.send, hmac);
}

std::optional<std::uint64_t> read_request(const wire::StunView& message, const CheckKeys& keys, wire::HmacSha256 hmac) {
  if (tag_of(message) != keys.tag || !message.has_integrity(keys.receive, hmac)) return std::nullopt;
  return message.find_u64(wire::StunAttribute::CheckCounter);
}

std::optional<SocketAddress> read_answer(const wire::StunView& message, const CheckKeys& keys, wire::HmacSha256 hmac) {
  if (message.type() != wire::StunType::BindingSuccess || !message.has_integrity(keys.receive, hmac)) {
    return std::nullopt;
  }
  return message.mapped_address();
}

}  // namespace postern::path
