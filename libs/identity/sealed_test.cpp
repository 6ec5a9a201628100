#include <gtest/gtest.h>

#include "identity/tokens.hpp"

namespace postern::identity {
namespace {

constexpr std::int64_t kNowSeconds = 1'780'000'000;
constexpr WallTime at(std::int64_t seconds) {
  return from_unix_ms(seconds * 1000);
}
constexpr SealKey kKey = {1, 2, 3};

/// Calls `check` with every variant of `good` that has one bit flipped or bytes cut from its end.
template <typename Check>
void for_each_damage(const Bytes& good, Check check) {
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] = static_cast<std::uint8_t>(bad[bit / 8] ^ (1U << (bit % 8)));
    check(bad);
  }
  for (std::size_t size = 0; size < good.size(); ++size)
    check(Bytes(good.begin(), good.begin() + static_cast<long>(size)));
  Bytes longer = good;
  longer.push_back(0);
  check(longer);
}

RelayTicket some_ticket() {
  RelayTicket ticket;
  ticket.network_id = 0x1122334455667788;
  ticket.route.bytes = {1, 2, 3, 4, 5, 6, 7};
  ticket.role = RelayRole::Connector;
  ticket.mac_key.fill(9);
  ticket.not_before = kNowSeconds;
  ticket.lifetime_s = 14'400;
  ticket.rate_bytes_per_s = 1'000'000;
  return ticket;
}

TEST(Seal, OpensOnlyWithKeyAndAssociatedData) {
  SeededRandom random(1);
  const Bytes sealed = seal(as_bytes("secret"), kKey, as_bytes("row 7"), random);
  EXPECT_EQ(sealed.size(), 12 + 6 + 16U);
  EXPECT_EQ(as_text(open_sealed(sealed, kKey, as_bytes("row 7")).value()), "secret");
  EXPECT_FALSE(open_sealed(sealed, kKey, as_bytes("row 8")));
  EXPECT_FALSE(open_sealed(sealed, SealKey{}, as_bytes("row 7")));
  EXPECT_FALSE(open_sealed({}, kKey, {}));
}

TEST(Seal, DrawsANewNonceEachTimeAndTakesEmptyText) {
  SeededRandom random(1);
  EXPECT_NE(seal(as_bytes("x"), kKey, {}, random), seal(as_bytes("x"), kKey, {}, random));
  EXPECT_TRUE(open_sealed(seal({}, kKey, {}, random), kKey, {}).value().empty());
}

TEST(Seal, RefusesEveryDamage) {
  SeededRandom random(1);
  for_each_damage(seal(as_bytes("secret"), kKey, as_bytes("a"), random),
                  [](const Bytes& bad) { EXPECT_FALSE(open_sealed(bad, kKey, as_bytes("a"))); });
}

TEST(Ticket, ComesBackForItsRelay) {
  SeededRandom random(2);
  const RelayTicket ticket = some_ticket();
  const Bytes sealed = seal_ticket(ticket, kKey, "relay-1", random);
  EXPECT_EQ(sealed.size(), 12 + 75 + 16U);
  const auto opened = open_ticket(sealed, kKey, "relay-1", at(kNowSeconds));
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->network_id, ticket.network_id);
  EXPECT_EQ(opened->route, ticket.route);
  EXPECT_EQ(opened->role, ticket.role);
  EXPECT_EQ(opened->mac_key, ticket.mac_key);
  EXPECT_EQ(opened->not_before, ticket.not_before);
  EXPECT_EQ(opened->lifetime_s, ticket.lifetime_s);
  EXPECT_EQ(opened->rate_bytes_per_s, ticket.rate_bytes_per_s);
  EXPECT_EQ(open_ticket(sealed, kKey, "relay-2", at(kNowSeconds)).error(), TokenError::BadSignature);
}

TEST(Ticket, RefusesEveryDamage) {
  SeededRandom random(3);
  for_each_damage(seal_ticket(some_ticket(), kKey, "r", random),
                  [](const Bytes& bad) { EXPECT_FALSE(open_ticket(bad, kKey, "r", at(kNowSeconds))); });
}

TEST(Ticket, HoldsInsideItsTimesOnly) {
  SeededRandom random(4);
  const Bytes sealed = seal_ticket(some_ticket(), kKey, "r", random);
  const auto error_at = [&](std::int64_t seconds) { return open_ticket(sealed, kKey, "r", at(seconds)); };
  EXPECT_EQ(error_at(kNowSeconds - 61).error(), TokenError::NotYetValid);
  EXPECT_TRUE(error_at(kNowSeconds - 60));
  EXPECT_TRUE(error_at(kNowSeconds + 14'399));
  EXPECT_EQ(error_at(kNowSeconds + 14'400).error(), TokenError::Expired);
}

TEST(Ticket, SealedRubbishIsMalformed) {
  SeededRandom random(5);
  const auto error_of = [&](const Bytes& plain) {
    return open_ticket(seal(plain, kKey, as_bytes("r"), random), kKey, "r", at(kNowSeconds)).error();
  };
  const Bytes good = *open_sealed(seal_ticket(some_ticket(), kKey, "r", random), kKey, as_bytes("r"));
  for (const auto& [offset, value] :
       std::vector<std::pair<std::size_t, int>>{{0, 2}, {16, 0}, {16, 3}, {49, 0x80}, {74, 1}}) {
    Bytes bad = good;
    bad[offset] = static_cast<std::uint8_t>(value);
    EXPECT_EQ(error_of(bad), TokenError::Malformed) << offset;
  }
  EXPECT_EQ(error_of(Bytes(74)), TokenError::Malformed);
}

TEST(Knock, HoldsForItsInstanceUntilItExpires) {
  const Knock knock{.device = sha256(as_bytes("device")), .instance_id = 42, .expires_at = kNowSeconds};
  const Bytes key(32, 5);
  const Bytes token = make_knock(knock, key);
  ASSERT_EQ(token.size(), kKnockSize);
  const auto read = verify_knock(token, key, 42, at(kNowSeconds + 59));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->device, knock.device);
  EXPECT_EQ(read->expires_at, knock.expires_at);
  EXPECT_EQ(verify_knock(token, key, 42, at(kNowSeconds + 60)).error(), KnockError::Expired);
  EXPECT_EQ(verify_knock(token, key, 43, at(kNowSeconds)).error(), KnockError::WrongInstance);
  EXPECT_EQ(verify_knock(token, Bytes(32, 6), 42, at(kNowSeconds)).error(), KnockError::BadMac);
}

TEST(Knock, RefusesEveryDamage) {
  const Bytes key(32, 5);
  const Bytes token = make_knock({.device = {}, .instance_id = 42, .expires_at = kNowSeconds}, key);
  for_each_damage(token, [&](const Bytes& bad) {
    const auto read = verify_knock(bad, key, 42, at(kNowSeconds));
    ASSERT_FALSE(read);
    const bool shape = bad.size() != kKnockSize || bad[0] != 1;
    EXPECT_EQ(read.error(), shape ? KnockError::Malformed : KnockError::BadMac);
  });
}

TEST(Knock, AnExpiryBeyondTheRangeIsExpired) {
  const Bytes key(32, 5);
  const Bytes token = make_knock({.device = {}, .instance_id = 1, .expires_at = -1}, key);
  EXPECT_EQ(verify_knock(token, key, 1, at(kNowSeconds)).error(), KnockError::Expired);
}

}  // namespace
}  // namespace postern::identity
