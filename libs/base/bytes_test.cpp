#include "base/bytes.hpp"

namespace postern {
namespace {

TEST(Bytes, ReaderStaysFailedAfterTheFirstReadPastTheEnd) {
  const Bytes bytes = {1, 2, 3};
  ByteReader reader(bytes);
  EXPECT_EQ(reader.u16(), 0x0102);
  EXPECT_EQ(reader.u16(), 0);
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.u8(), 0);
  EXPECT_FALSE(reader.ok());
}

TEST(Bytes, WriterNeverWritesPastItsBuffer) {
  std::array<std::uint8_t, 3> buffer{};
  ByteWriter writer(buffer);
  writer.u16(0x0a0b);
  writer.u16(0x0c0d);
  EXPECT_FALSE(writer.ok());
  EXPECT_EQ(writer.size(), 2U);
  EXPECT_EQ(buffer[2], 0);
}

TEST(Bytes, Base64UrlRoundTripsEveryLengthAndMatchesTheRfc) {
  EXPECT_EQ(to_base64url(as_bytes("fooba")), "Zm9vYmE");
  for (std::size_t size = 0; size < 70; ++size) {
    Bytes bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(i * 37 + size);
    EXPECT_EQ(from_base64url(to_base64url(bytes)), bytes);
    EXPECT_EQ(from_hex(to_hex(bytes)), bytes);
  }
}

TEST(Bytes, Base64UrlRefusesPaddingBlanksAndHiddenBits) {
  for (const char* bad : {"Zg==", "Z", "Zh", "Z g", "Zm9/", "Zm9+"}) EXPECT_FALSE(from_base64url(bad)) << bad;
}

TEST(Bytes, ConstantTimeComparisonSeesEveryDifference) {
  const Bytes bytes = {1, 2, 3};
  EXPECT_TRUE(equal_constant_time(bytes, Bytes{1, 2, 3}));
  EXPECT_FALSE(equal_constant_time(bytes, Bytes{1, 2, 4}));
  EXPECT_FALSE(equal_constant_time(bytes, Bytes{1, 2}));
}

}  // namespace
}  // namespace postern
