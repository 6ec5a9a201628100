#include "signin/cbor.hpp"

namespace postern::signin {

CborReader::Head CborReader::head() {
  const std::uint8_t first = reader_.u8();
  Head head{static_cast<Major>(first >> 5), first & 0x1fU};
  switch (head.argument) {
    case 24:
      head.argument = reader_.u8();
      break;
    case 25:
      head.argument = reader_.u16();
      break;
    case 26:
      head.argument = reader_.u32();
      break;
    case 27:
      head.argument = reader_.u64();
      break;
    default:
      if (head.argument > 27) ok_ = false;  // reserved, or of indefinite length
  }
  if (!ok()) return {};
  return head;
}

std::uint64_t CborReader::expect(Major major) {
  const Head found = head();
  if (found.major != major) ok_ = false;
  return ok() ? found.argument : 0;
}

ByteView CborReader::view(std::uint64_t size) {
  if (size > reader_.remaining()) ok_ = false;
  return ok() ? reader_.view(static_cast<std::size_t>(size)) : ByteView();
}

std::uint64_t CborReader::map() {
  const std::uint64_t pairs = expect(Major::Map);
  if (pairs > reader_.remaining()) ok_ = false;
  return ok() ? pairs : 0;
}

std::int64_t CborReader::integer() {
  const Head found = head();
  const bool fits = found.argument <= static_cast<std::uint64_t>(INT64_MAX);
  if (!fits || (found.major != Major::Unsigned && found.major != Major::Negative)) ok_ = false;
  if (!ok()) return 0;
  const auto number = static_cast<std::int64_t>(found.argument);
  return found.major == Major::Negative ? -1 - number : number;
}

ByteView CborReader::bytes() {
  return view(expect(Major::Bytes));
}

std::string_view CborReader::text() {
  return as_text(view(expect(Major::Text)));
}

void CborReader::skip() {
  skip(0);
}

void CborReader::skip(unsigned depth) {
  if (depth > kDepthMax) ok_ = false;
  const Head found = head();
  if (!ok()) return;
  std::uint64_t values = 0;
  switch (found.major) {
    case Major::Bytes:
    case Major::Text:
      (void)view(found.argument);
      return;
    case Major::Array:
      values = found.argument;
      break;
    case Major::Map:
      if (found.argument > reader_.remaining()) ok_ = false;
      values = ok_ ? found.argument * 2 : 0;
      break;
    case Major::Tag:
      values = 1;
      break;
    default:
      return;
  }
  if (values > reader_.remaining()) ok_ = false;  // each value has at least a byte
  for (std::uint64_t i = 0; i < values && ok(); ++i) skip(depth + 1);
}

}  // namespace postern::signin
