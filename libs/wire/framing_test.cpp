#include "wire/framing.hpp"

#include <gtest/gtest.h>

#include "base/random.hpp"

namespace postern::wire {
namespace {

Bytes encode(std::uint64_t value) {
  Bytes bytes(8);
  ByteWriter writer(bytes);
  write_varint(writer, value);
  bytes.resize(writer.size());
  return bytes;
}

std::optional<std::uint64_t> decode(ByteView bytes) {
  ByteReader reader(bytes);
  return read_varint(reader);
}

TEST(Varint, MatchesTheExamplesOfTheStandard) {
  // RFC 9000 §A.1
  EXPECT_EQ(to_hex(encode(151'288'809'941'952'652)), "c2197c5eff14e88c");
  EXPECT_EQ(to_hex(encode(494'878'333)), "9d7f3e7d");
  EXPECT_EQ(to_hex(encode(15'293)), "7bbd");
  EXPECT_EQ(to_hex(encode(37)), "25");
  EXPECT_EQ(decode(*from_hex("4025")), 37U);
}

TEST(Varint, RoundTripsAtEveryBound) {
  for (const std::uint64_t value :
       {std::uint64_t{0}, std::uint64_t{63}, std::uint64_t{64}, std::uint64_t{16'383}, std::uint64_t{16'384},
        (std::uint64_t{1} << 30) - 1, std::uint64_t{1} << 30, kVarintMax}) {
    EXPECT_EQ(encode(value).size(), varint_size(value));
    EXPECT_EQ(decode(encode(value)), value);
    EXPECT_FALSE(decode(ByteView(encode(value)).first(varint_size(value) - 1)));
  }
}

/// Feeds `stream` in pieces of `cut(remaining)` bytes and collects the messages.
template <typename Cut>
std::expected<std::vector<Bytes>, FramingError> read_all(LengthPrefixedReader& reader, ByteView stream, Cut cut) {
  std::vector<Bytes> messages;
  while (!stream.empty()) {
    const auto taken = reader.feed(stream.first(std::min(stream.size(), cut())));
    if (!taken) return std::unexpected(taken.error());
    stream = stream.subspan(*taken);
    if (reader.has_message()) {
      messages.push_back(to_bytes(reader.message()));
      reader.next();
    }
  }
  return messages;
}

TEST(LengthPrefixedReader, GivesTheSameMessagesWhateverTheCuts) {
  SeededRandom random(1);
  for (int round = 0; round < 2'000; ++round) {
    std::vector<Bytes> sent;
    Bytes stream;
    for (std::uint64_t count = random.below(6); count > 0; --count) {
      Bytes message(random.below(random.below(4) == 0 ? 300 : 5));
      random.fill(message);
      const Bytes framed = frame_message(message);
      stream.insert(stream.end(), framed.begin(), framed.end());
      sent.push_back(std::move(message));
    }
    LengthPrefixedReader reader(300);
    const std::uint64_t cut_max = random.below(20) + 1;
    EXPECT_EQ(read_all(reader, stream, [&] { return random.below(cut_max) + 1; }), sent);
    EXPECT_TRUE(reader.is_at_boundary());
  }
}

TEST(LengthPrefixedReader, LeavesTheBytesAfterAMessageToTheCaller) {
  LengthPrefixedReader reader(kFlowMessageMax);
  Bytes stream = frame_message(as_bytes("head"));
  stream.push_back('r');
  stream.push_back('a');
  EXPECT_EQ(reader.feed(stream), 5U);
  EXPECT_EQ(as_text(reader.message()), "head");
  EXPECT_EQ(reader.feed(as_bytes("raw")), 0U);
  EXPECT_EQ(as_text(reader.message()), "head");
}

TEST(LengthPrefixedReader, RefusesAMessageOverItsBoundAsSoonAsTheLengthIsThereAndStaysSo) {
  LengthPrefixedReader reader(1000);
  const Bytes head = encode(1001);
  EXPECT_TRUE(reader.feed(ByteView(head).first(1)));
  EXPECT_EQ(reader.feed(ByteView(head).subspan(1)).error(), FramingError::TooLarge);
  EXPECT_EQ(reader.feed(as_bytes("more")).error(), FramingError::TooLarge);
  EXPECT_FALSE(reader.is_at_boundary());
  LengthPrefixedReader exact(1000);
  EXPECT_TRUE(exact.feed(frame_message(Bytes(1000))));
  EXPECT_TRUE(exact.has_message());
}

TEST(LengthPrefixedReader, AMessageOfLengthZeroIsAMessage) {
  LengthPrefixedReader reader(10);
  EXPECT_EQ(reader.feed(Bytes{0, 1, 7}), 1U);
  EXPECT_TRUE(reader.has_message());
  EXPECT_TRUE(reader.message().empty());
  reader.next();
  EXPECT_EQ(reader.feed(Bytes{1, 7}), 2U);
  EXPECT_EQ(reader.message().size(), 1U);
}

TEST(LengthPrefixedReader, KnowsWhetherAStreamMayEndHere) {
  LengthPrefixedReader reader(100);
  EXPECT_TRUE(reader.is_at_boundary());
  ASSERT_TRUE(reader.feed(Bytes{0x40}));
  EXPECT_FALSE(reader.is_at_boundary());
  ASSERT_TRUE(reader.feed(Bytes{0x02, 1}));
  EXPECT_FALSE(reader.is_at_boundary());
  reader.next();
  EXPECT_FALSE(reader.is_at_boundary());
}

TEST(LengthPrefixedReader, SurvivesGarbageWithinItsBound) {
  SeededRandom random(2);
  for (int round = 0; round < 200'000; ++round) {
    LengthPrefixedReader reader(64);
    Bytes stream(random.below(100));
    random.fill(stream);
    const auto messages = read_all(reader, stream, [&] { return random.below(9) + 1; });
    if (!messages) continue;
    for (const Bytes& message : *messages) ASSERT_LE(message.size(), 64U);
  }
}

}  // namespace
}  // namespace postern::wire
