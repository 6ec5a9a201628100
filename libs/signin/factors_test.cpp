#include "signin/factors.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace postern::signin {
namespace {

using namespace std::chrono_literals;

const Bytes kRfcSecret = to_bytes(as_bytes("12345678901234567890"));

WallTime at_second(std::int64_t second) {
  return from_unix_ms(second * 1000);
}

TEST(Totp, GivesTheCodesOfRfc6238) {
  // Appendix B, the last six of its eight digits.
  const std::vector<std::pair<std::int64_t, std::string>> expected = {{59, "287082"},
                                                                      {1'111'111'109, "081804"},
                                                                      {1'111'111'111, "050471"},
                                                                      {1'234'567'890, "005924"},
                                                                      {2'000'000'000, "279037"},
                                                                      {20'000'000'000, "353130"}};
  for (const auto& [second, code] : expected) {
    EXPECT_EQ(totp_code(kRfcSecret, totp_step(at_second(second))), code) << second;
  }
}

TEST(Totp, TakesTheNeighbouringStepsAndNoOthers) {
  const WallTime now = at_second(1'700'000'010);
  const std::int64_t today = totp_step(now);
  const Totp totp{kRfcSecret, -1};
  for (std::int64_t off = -2; off <= 2; ++off) {
    const auto found = find_totp_step(totp, totp_code(kRfcSecret, today + off), now);
    EXPECT_EQ(found.has_value(), off >= -1 && off <= 1) << off;
  }
  EXPECT_TRUE(find_totp_step(totp, totp_code(kRfcSecret, today).insert(3, " "), now)) << "as apps show it";
  for (const char* wrong : {"", "1", "00000", "0000000", "abcdef", "                          "}) {
    EXPECT_FALSE(find_totp_step(totp, wrong, now)) << wrong;
  }
}

TEST(Totp, TakesAStepOnce) {
  const WallTime now = at_second(1'700'000'010);
  const std::int64_t today = totp_step(now);
  const Totp used{kRfcSecret, today};
  EXPECT_FALSE(find_totp_step(used, totp_code(kRfcSecret, today), now));
  EXPECT_FALSE(find_totp_step(used, totp_code(kRfcSecret, today - 1), now)) << "nor an earlier one afterwards";
  EXPECT_EQ(find_totp_step(used, totp_code(kRfcSecret, today + 1), now), today + 1);
}

TEST(Totp, NamesTheAccountInItsUri) {
  EXPECT_EQ(to_base32(kRfcSecret), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
  EXPECT_EQ(to_base32(as_bytes("f")), "MY");
  EXPECT_EQ(otpauth_uri(as_bytes("foobar"), "Postern <&> 1", "a:b@x.org"),
            "otpauth://totp/Postern%20%3c%26%3e%201:a%3ab@x.org?secret=MZXW6YTBOI&issuer=Postern%20%3c%26%3e%201");
}

TEST(RecoveryCodes, LetInOnceEach) {
  SeededRandom random(1);
  Factors factors;
  const auto codes = renew_recovery_codes(factors, random);
  ASSERT_EQ(codes.size(), 10U);
  EXPECT_EQ(std::set(codes.begin(), codes.end()).size(), 10U);
  EXPECT_THAT(codes[0], ::testing::MatchesRegex("[A-Z2-7]{4}-[A-Z2-7]{4}-[A-Z2-7]{4}-[A-Z2-7]{4}"));
  std::string typed = codes[3];
  std::ranges::transform(typed, typed.begin(), [](unsigned char c) { return c == '-' ? ' ' : std::tolower(c); });
  EXPECT_EQ(use_code(factors, typed, at_second(1)), CodeKind::Recovery);
  EXPECT_EQ(factors.recovery_codes.size(), 9U);
  EXPECT_FALSE(use_code(factors, codes[3], at_second(1)));
  for (const char* wrong : {"", "-", "AAAA-AAAA-AAAA-AAAA", "AAAA"})
    EXPECT_FALSE(use_code(factors, wrong, at_second(1)));
  EXPECT_FALSE(use_code(factors, std::string(100'000, 'A'), at_second(1)));
  (void)renew_recovery_codes(factors, random);
  EXPECT_FALSE(use_code(factors, codes[4], at_second(1))) << "older ones are void";
}

TEST(Factors, KeepWhichStepWasUsed) {
  Factors factors;
  factors.totp = Totp{kRfcSecret, -1};
  const WallTime now = at_second(1'700'000'010);
  const std::string code = totp_code(kRfcSecret, totp_step(now));
  EXPECT_EQ(use_code(factors, code, now), CodeKind::App);
  auto again = decode_factors(encode(factors));
  ASSERT_TRUE(again);
  EXPECT_FALSE(use_code(*again, code, now)) << "also behind a restart";
}

TEST(Factors, AreReadAsTheyWereWritten) {
  SeededRandom random(2);
  Factors factors;
  EXPECT_EQ(decode_factors(encode(factors)), factors);
  factors.totp = Totp{kRfcSecret, 56'666'667};
  (void)renew_recovery_codes(factors, random);
  factors.passkeys.push_back({{1, 2, 3}, {4, 5}, 4'000'000'000U, "Schlüssel \"1\"", at_second(5), at_second(7)});
  factors.passkeys.push_back({{9}, {8}, 0, "", at_second(6), std::nullopt});
  EXPECT_EQ(decode_factors(encode(factors)), factors);
  EXPECT_EQ(factors.find_passkey(Bytes{9})->key, Bytes{8});
  EXPECT_EQ(factors.find_passkey(Bytes{7}), nullptr);
}

TEST(Factors, AreReadWholeOrNotAtAll) {
  for (const char* text :
       {"", "{}", R"({"version":2,"recovery":[],"passkeys":[]})", R"({"version":1,"recovery":[]})",
        R"({"version":1,"recovery":["AAAA"],"passkeys":[]})", R"({"version":1,"recovery":[],"passkeys":[{}]})",
        R"({"version":1,"recovery":[],"passkeys":[],"totp":{"secret":"AAAA"}})"}) {
    EXPECT_FALSE(decode_factors(text)) << text;
  }
}

}  // namespace
}  // namespace postern::signin
