#include "wire/link_message.hpp"

namespace postern::wire {

std::string_view to_string(LinkMessageError error) {
  switch (error) {
    case LinkMessageError::Empty:
      return "a message without a datagram";
    case LinkMessageError::BadStride:
      return "a message with a stride of zero";
    case LinkMessageError::TooManyDatagrams:
      return "a message with more than 128 datagrams";
  }
  return "a malformed message";
}

std::expected<LinkTrain, LinkMessageError> parse_link_message(MutableBytes message) {
  if (message.size() <= kLinkHeadSize) return std::unexpected(LinkMessageError::Empty);
  const MutableBytes bytes = message.subspan(kLinkHeadSize);
  const std::size_t stride = load_u16(message.data());
  if (stride == 0) return std::unexpected(LinkMessageError::BadStride);
  if (!fits_link_message(bytes.size(), stride)) return std::unexpected(LinkMessageError::TooManyDatagrams);
  return LinkTrain{bytes, std::min(stride, bytes.size())};
}

}  // namespace postern::wire
