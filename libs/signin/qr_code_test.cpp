// Codes are read back by a reader that shares nothing with the writer but the standard: format bits, mask, zigzag, and
// the roots of the check codewords.
#include "signin/qr_code.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/bytes.hpp"

namespace postern::signin {
namespace {

/// Level M: blocks and codewords of one block's data, for the versions that are tested (ISO/IEC 18004 table 9).
struct Shape {
  int version;
  std::vector<int> data_of_blocks;
  int check;
};
const std::vector<Shape> kShapes = {{1, {16}, 10},
                                    {5, {43, 43}, 24},
                                    {7, {31, 31, 31, 31}, 18},
                                    {8, {38, 38, 39, 39}, 22},
                                    {10, {43, 43, 43, 43, 44}, 26},
                                    {15, {41, 41, 41, 41, 41, 42, 42, 42, 42, 42}, 24}};

class Reader {
 public:
  explicit Reader(const QrCode& code) : code_(code), size_(code.size()) {}

  [[nodiscard]] std::uint32_t format() const {
    std::uint32_t bits = 0;
    const auto take = [&](int x, int y) { bits = (bits << 1) | (code_.is_dark(x, y) ? 1U : 0U); };
    for (const int x : {0, 1, 2, 3, 4, 5, 7, 8}) take(x, 8);
    for (const int y : {7, 5, 4, 3, 2, 1, 0}) take(8, y);
    return bits ^ 0b101010000010010U;
  }
  [[nodiscard]] std::uint32_t second_format() const {
    std::uint32_t bits = 0;
    const auto take = [&](int x, int y) { bits = (bits << 1) | (code_.is_dark(x, y) ? 1U : 0U); };
    for (int y = size_ - 1; y >= size_ - 7; --y) take(8, y);
    for (int x = size_ - 8; x < size_; ++x) take(x, 8);
    return bits ^ 0b101010000010010U;
  }

  [[nodiscard]] Bytes codewords() const {
    Bytes result;
    unsigned bits = 0;
    int held = 0;
    bool upward = true;
    for (int right = size_ - 1; right > 0; right -= right == 8 ? 3 : 2, upward = !upward) {
      for (int i = 0; i < size_; ++i) {
        const int y = upward ? size_ - 1 - i : i;
        for (const int x : {right, right - 1}) {
          if (is_pattern(x, y)) continue;
          bits = (bits << 1) | (code_.is_dark(x, y) != is_masked(x, y) ? 1U : 0U);
          if (++held % 8 == 0) result.push_back(static_cast<std::uint8_t>(bits));
        }
      }
    }
    return result;
  }

 private:
  [[nodiscard]] bool is_pattern(int x, int y) const {
    if (x == 6 || y == 6) return true;
    if ((x <= 8 && y <= 8) || (x >= size_ - 8 && y <= 8) || (x <= 8 && y >= size_ - 8)) return true;
    const bool version_area = (x >= size_ - 11 && y <= 5) || (y >= size_ - 11 && x <= 5);
    if (code_.version() >= 7 && version_area) return true;
    const std::vector<int> centres = alignments();
    const auto near = [](int a, int b) { return std::abs(a - b) <= 2; };
    for (const int cx : centres) {
      for (const int cy : centres) {
        const bool finder = (cx == 6 && cy == 6) || (cx == 6 && cy == size_ - 7) || (cx == size_ - 7 && cy == 6);
        if (!finder && near(x, cx) && near(y, cy)) return true;
      }
    }
    return false;
  }
  /// Annex E, of the versions of kShapes.
  [[nodiscard]] std::vector<int> alignments() const {
    switch (code_.version()) {
      case 5:
        return {6, 30};
      case 7:
        return {6, 22, 38};
      case 8:
        return {6, 24, 42};
      case 10:
        return {6, 28, 50};
      case 15:
        return {6, 26, 48, 70};
      default:
        return {};
    }
  }
  [[nodiscard]] bool is_masked(int column, int row) const {
    const int i = row;
    const int j = column;
    switch ((format() >> 10) & 7U) {
      case 0:
        return (i + j) % 2 == 0;
      case 1:
        return i % 2 == 0;
      case 2:
        return j % 3 == 0;
      case 3:
        return (i + j) % 3 == 0;
      case 4:
        return (i / 2 + j / 3) % 2 == 0;
      case 5:
        return (i * j) % 2 + (i * j) % 3 == 0;
      case 6:
        return ((i * j) % 2 + (i * j) % 3) % 2 == 0;
      default:
        return ((i + j) % 2 + (i * j) % 3) % 2 == 0;
    }
  }

  const QrCode& code_;
  int size_;
};

struct Field {
  std::array<int, 256> log{};
  std::array<std::uint8_t, 512> power{};
  Field() {
    int value = 1;
    for (int i = 0; i < 255; ++i) {
      power[static_cast<std::size_t>(i)] = power[static_cast<std::size_t>(i + 255)] = static_cast<std::uint8_t>(value);
      log[static_cast<std::size_t>(value)] = i;
      value *= 2;
      if (value > 255) value ^= 285;
    }
  }
  /// `block` as a polynomial at alpha^root.
  [[nodiscard]] int at_root(const Bytes& block, int root) const {
    int sum = 0;
    for (const std::uint8_t byte : block) {
      if (sum != 0) sum = power[static_cast<std::size_t>((log[static_cast<std::size_t>(sum)] + root) % 255)];
      sum ^= byte;
    }
    return sum;
  }
};

/// The text, if every check codeword fits.
std::string read(const QrCode& code, const Shape& shape) {
  const Bytes all = Reader(code).codewords();
  const std::size_t blocks = shape.data_of_blocks.size();
  std::vector<Bytes> parts(blocks);
  std::size_t at = 0;
  for (int i = 0; i < shape.data_of_blocks.back(); ++i) {
    for (std::size_t b = 0; b < blocks; ++b) {
      if (i < shape.data_of_blocks[b]) parts[b].push_back(all.at(at++));
    }
  }
  Bytes data;
  for (const Bytes& part : parts) data.insert(data.end(), part.begin(), part.end());
  for (int i = 0; i < shape.check; ++i) {
    for (Bytes& part : parts) part.push_back(all.at(at++));
  }
  EXPECT_EQ(at, all.size());
  const Field field;
  for (const Bytes& part : parts) {
    for (int root = 0; root < shape.check; ++root) EXPECT_EQ(field.at_root(part, root), 0) << "root " << root;
  }
  EXPECT_EQ(data[0] >> 4, 4) << "byte mode";
  const bool wide = shape.version >= 10;
  std::size_t nibble = 1;
  const auto next = [&] {
    const unsigned value = nibble % 2 == 0 ? data.at(nibble / 2) >> 4 : data.at(nibble / 2) & 15U;
    ++nibble;
    return value;
  };
  std::size_t size = 0;
  for (int i = 0; i < (wide ? 4 : 2); ++i) size = size * 16 + next();
  std::string text;
  for (std::size_t i = 0; i < size; ++i) {
    const unsigned high = next();
    text += static_cast<char>(high * 16 + next());
  }
  return text;
}

TEST(QrCode, IsReadBack) {
  for (const Shape& shape : kShapes) {
    int capacity = -(shape.version < 10 ? 2 : 3);
    for (const int each : shape.data_of_blocks) capacity += each;
    std::string text;
    for (int i = 0; i < capacity; ++i) text += static_cast<char>(33 + (i * 7 + shape.version) % 90);
    for (const std::string& each : {text, text.substr(1)}) {
      const auto code = QrCode::make(each);
      ASSERT_TRUE(code);
      ASSERT_EQ(code->version(), shape.version);
      EXPECT_EQ(Reader(*code).format() >> 13, 0U) << "level M";
      EXPECT_EQ(Reader(*code).format(), Reader(*code).second_format());
      EXPECT_EQ(read(*code, shape), each);
    }
  }
}

TEST(QrCode, HasItsPatterns) {
  const auto code = QrCode::make("otpauth://totp/Postern:a@example.org?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
  ASSERT_TRUE(code);
  const int last = code->size() - 1;
  for (int i = 0; i <= 6; ++i) {
    EXPECT_TRUE(code->is_dark(i, 0) && code->is_dark(last - i, 0) && code->is_dark(i, last));
    EXPECT_FALSE(code->is_dark(i, 7) || code->is_dark(last - i, 7) || code->is_dark(i, last - 7));
  }
  EXPECT_TRUE(code->is_dark(8, last - 7));
  for (int i = 8; i <= last - 8; ++i) EXPECT_EQ(code->is_dark(i, 6), i % 2 == 0);
}

TEST(QrCode, IsRefusedBeyondItsBound) {
  EXPECT_TRUE(QrCode::make(std::string(412, 'x')));
  EXPECT_FALSE(QrCode::make(std::string(413, 'x')));
  EXPECT_TRUE(QrCode::make(""));
}

TEST(QrCode, IsAnImageOfItsOwn) {
  const std::string svg = QrCode::make("x")->svg();
  EXPECT_THAT(svg, ::testing::StartsWith("<svg "));
  EXPECT_THAT(svg, ::testing::HasSubstr("viewBox=\"0 0 29 29\""));
  EXPECT_THAT(svg, ::testing::Not(::testing::HasSubstr("style")));
}

}  // namespace
}  // namespace postern::signin
