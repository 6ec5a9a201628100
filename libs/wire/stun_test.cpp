#include "wire/stun.hpp"

#include <gtest/gtest.h>

#include "base/random.hpp"

namespace postern::wire {
namespace {

/// Stands in for HMAC-SHA256, which lives in a library beside this one: mixes every byte of key and message.
Digest toy_mac(ByteView key, ByteView message) {
  Digest digest{};
  std::uint64_t state = 0x243f6a8885a308d3U;
  for (const ByteView part : {key, message}) {
    for (const std::uint8_t byte : part) state = (state ^ byte) * 0x100000001b3U + 0x9e3779b97f4a7c15U;
  }
  SeededRandom(state).fill(digest);
  return digest;
}

constexpr TransactionId kTransaction = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
const Bytes kMacKey(32, 3);

Bytes full_message() {
  Bytes buffer(512);
  StunBuilder builder(buffer, StunType::BindRequest, kTransaction);
  builder.add(StunAttribute::Nonce, Bytes(20, 9));
  builder.add(StunAttribute::AccessToken, Bytes(103, 8));
  builder.add_u64(StunAttribute::BindSeq, 0x0123456789abcdef);
  builder.add_u32(StunAttribute::Lifetime, 600);
  builder.add_route({{1, 2, 3, 4, 5, 6, 7}});
  builder.add_error(438, "Stale nonce");
  builder.add_mapped_address(*SocketAddress::parse("192.0.2.1:32853"));
  return to_bytes(builder.finish_with_integrity(kMacKey, toy_mac));
}

TEST(Stun, ReadsBackWhatItWrote) {
  const Bytes bytes = full_message();
  const auto message = StunView::parse(bytes);
  ASSERT_TRUE(message);
  EXPECT_EQ(message->type(), StunType::BindRequest);
  EXPECT_EQ(message->transaction(), kTransaction);
  EXPECT_EQ(to_bytes(*message->find(StunAttribute::AccessToken)), Bytes(103, 8));
  EXPECT_EQ(message->find_u64(StunAttribute::BindSeq), 0x0123456789abcdefU);
  EXPECT_EQ(message->find_u32(StunAttribute::Lifetime), 600U);
  EXPECT_EQ(message->route(), (RouteId{{1, 2, 3, 4, 5, 6, 7}}));
  EXPECT_EQ(message->error_code(), 438);
  EXPECT_EQ(message->mapped_address()->to_string(), "192.0.2.1:32853");
  EXPECT_TRUE(message->has_integrity(kMacKey, toy_mac));
  EXPECT_FALSE(message->has_integrity(Bytes(32, 4), toy_mac));
  EXPECT_FALSE(message->find(StunAttribute::Padding));
}

TEST(Stun, ReadsTheSampleResponsesOfTheStandard) {
  // RFC 5769 §2.2 and §2.3
  const Bytes v4 = *from_hex(
      "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643"
      "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96");
  EXPECT_EQ(StunView::parse(v4)->mapped_address()->to_string(), "192.0.2.1:32853");
  const Bytes v6 = *from_hex(
      "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9fa"
      "a5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c");
  EXPECT_EQ(StunView::parse(v6)->mapped_address()->to_string(), "[2001:db8:1234:5678:11:2233:4455:6677]:32853");
}

TEST(Stun, HeadersThatAreNotStunAreRefused) {
  const Bytes good = full_message();
  EXPECT_EQ(StunView::parse(ByteView(good).first(19)).error(), StunError::TooShort);
  EXPECT_EQ(StunView::parse(Bytes(kStunSizeMax + 4)).error(), StunError::TooLarge);
  Bytes bad = good;
  bad[4] ^= 1;
  EXPECT_EQ(StunView::parse(bad).error(), StunError::BadHeader);
  bad = good;
  bad[0] |= 0x40;
  EXPECT_EQ(StunView::parse(bad).error(), StunError::BadHeader);
  bad = good;
  bad.push_back(0);
  EXPECT_EQ(StunView::parse(bad).error(), StunError::BadHeader);
  for (std::size_t size = 20; size < good.size(); ++size) EXPECT_FALSE(StunView::parse(ByteView(good).first(size)));
}

TEST(Stun, AnAttributeOverTheEndIsRefused) {
  Bytes bytes = full_message();
  store_u16(bytes.data() + 22, 2000);
  EXPECT_EQ(StunView::parse(bytes).error(), StunError::BadAttributes);
}

TEST(Stun, AnyFlippedBitBreaksTheIntegrity) {
  const Bytes good = full_message();
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] = static_cast<std::uint8_t>(bad[bit / 8] ^ (1U << (bit % 8)));
    const auto message = StunView::parse(bad);
    ASSERT_FALSE(message && message->has_integrity(kMacKey, toy_mac)) << bit;
  }
}

TEST(Stun, IntegrityMustBeTheLastAttributeAndWhole) {
  Bytes bytes = full_message();
  bytes.insert(bytes.end(), {0, 0x26, 0, 0});
  store_u16(bytes.data() + 2, static_cast<std::uint16_t>(bytes.size() - 20));
  EXPECT_FALSE(StunView::parse(bytes)->has_integrity(kMacKey, toy_mac));
  Bytes buffer(128);
  StunBuilder builder(buffer, StunType::BindSuccess, kTransaction);
  builder.add(StunAttribute::MessageIntegritySha256, Bytes(16));
  EXPECT_FALSE(StunView::parse(builder.finish())->has_integrity(kMacKey, toy_mac));
}

TEST(Stun, PaddingReachesTheWantedSize) {
  for (const int wanted : {20, 24, 64, 125, 128}) {
    Bytes buffer(256);
    StunBuilder builder(buffer, StunType::BindRequest, kTransaction);
    builder.pad_to(static_cast<std::size_t>(wanted));
    const ByteView message = builder.finish();
    EXPECT_GE(message.size(), static_cast<std::size_t>(wanted));
    EXPECT_LT(message.size(), static_cast<std::size_t>(wanted) + 8);
    EXPECT_TRUE(StunView::parse(message));
  }
}

TEST(Stun, ABufferThatIsTooSmallGivesNoMessage) {
  for (std::size_t size = 0; size < 76; ++size) {
    Bytes buffer(size);
    StunBuilder builder(buffer, StunType::BindSuccess, kTransaction);
    builder.add_mapped_address(*SocketAddress::parse("192.0.2.1:1"));
    builder.add_u32(StunAttribute::Lifetime, 600);
    EXPECT_TRUE(builder.finish_with_integrity(kMacKey, toy_mac).empty()) << size;
  }
}

TEST(Stun, AttributesOfAWrongSizeReadAsMissing) {
  Bytes buffer(256);
  StunBuilder builder(buffer, StunType::BindError, kTransaction);
  builder.add(StunAttribute::BindSeq, Bytes(7));
  builder.add(StunAttribute::Lifetime, Bytes(8));
  builder.add(StunAttribute::RouteIdentifier, Bytes(8));
  builder.add(StunAttribute::XorMappedAddress, Bytes{0, 1, 0, 0, 1, 2, 3});
  builder.add(StunAttribute::ErrorCode, Bytes{0, 0, 4, 100});
  const auto message = StunView::parse(builder.finish());
  EXPECT_FALSE(message->find_u64(StunAttribute::BindSeq));
  EXPECT_FALSE(message->find_u32(StunAttribute::Lifetime));
  EXPECT_FALSE(message->route());
  EXPECT_FALSE(message->mapped_address());
  EXPECT_FALSE(message->error_code());
}

TEST(Stun, SurvivesGarbage) {
  SeededRandom random(1);
  const Bytes good = full_message();
  for (int round = 0; round < 200'000; ++round) {
    Bytes bytes = good;
    if (random.below(2) == 0) {
      bytes.resize(20 + 4 * random.below(40));
      random.fill(MutableBytes(bytes).subspan(20));
      store_u16(bytes.data() + 2, static_cast<std::uint16_t>(bytes.size() - 20));
    }
    for (std::uint64_t edits = random.below(4); edits > 0; --edits) {
      bytes[random.below(bytes.size())] = static_cast<std::uint8_t>(random.next());
    }
    const auto message = StunView::parse(bytes);
    if (!message) continue;
    static_cast<void>(message->mapped_address());
    static_cast<void>(message->error_code());
    static_cast<void>(message->route());
    static_cast<void>(message->find_u64(StunAttribute::BindSeq));
    ASSERT_FALSE(bytes != good && message->has_integrity(kMacKey, toy_mac));
  }
}

}  // namespace
}  // namespace postern::wire
