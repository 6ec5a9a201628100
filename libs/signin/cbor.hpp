// CBOR (RFC 8949) as authenticators write it: definite lengths, no tags but skipped ones, no floating point.
//
// As ByteReader does, it reads on after a failure, gives nothing, and `ok()` stays false: a parser checks once at its
// end.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/bytes.hpp"

namespace postern::signin {

class CborReader {
 public:
  /// Deeper values are a failure; CTAP2 allows four levels.
  static constexpr unsigned kDepthMax = 8;

  explicit CborReader(ByteView bytes) : reader_(bytes) {}

  [[nodiscard]] bool ok() const { return ok_ && reader_.ok(); }
  [[nodiscard]] std::size_t remaining() const { return reader_.remaining(); }
  [[nodiscard]] std::size_t offset() const { return reader_.offset(); }

  /// The number of pairs; at most as many as bytes are left.
  std::uint64_t map();
  /// Signed and unsigned; one that does not fit is a failure.
  std::int64_t integer();
  ByteView bytes();
  std::string_view text();
  /// Passes over one value of any kind.
  void skip();

 private:
  enum class Major : std::uint8_t { Unsigned, Negative, Bytes, Text, Array, Map, Tag, Simple };
  struct Head {
    Major major{};
    std::uint64_t argument = 0;
  };
  Head head();
  /// The argument when the head is of this kind.
  std::uint64_t expect(Major major);
  void skip(unsigned depth);
  ByteView view(std::uint64_t size);

  ByteReader reader_;
  bool ok_ = true;
};

}  // namespace postern::signin
