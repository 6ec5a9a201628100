#include "signin/sign_ins.hpp"

#include <gtest/gtest.h>

#include "signin/sessions.hpp"

namespace postern::signin {
namespace {

using namespace std::chrono_literals;

constexpr Instant kStart{Duration{1'000'000'000}};
const Person kAna{model::UserId(7), "ana@example.org"};
const Person kBen{model::UserId(8), "ben@example.org"};

class SignInsTest : public ::testing::Test {
 protected:
  std::string ticket(const Person& person = kAna, Instant now = kStart) {
    return machine_.password_proven(person, "192.0.2.1:1", "account", true, now).value();
  }
  SeededRandom random_{1};
  SignIns machine_{random_};
};

TEST_F(SignInsTest, APasswordIsEnoughWhereNoSecondFactorIsEnrolled) {
  EXPECT_FALSE(machine_.password_proven(kAna, "192.0.2.1:1", "account", false, kStart));
  EXPECT_EQ(machine_.pending(), 0U);
}

TEST_F(SignInsTest, ATicketStandsForOnePersonAndOnePurposeForFiveMinutes) {
  const std::string ana = ticket(kAna);
  const std::string ben = ticket(kBen);
  EXPECT_NE(ana, ben);
  EXPECT_EQ(machine_.find(ana, "account", kStart)->person.user, kAna.user);
  EXPECT_EQ(machine_.find(ben, "account", kStart)->person.user, kBen.user);
  EXPECT_EQ(machine_.find(ana, "device:BCDF-GHJK", kStart), nullptr);
  EXPECT_EQ(machine_.find("", "account", kStart), nullptr);
  EXPECT_NE(machine_.find(ana, "account", kStart + 299s), nullptr);
  EXPECT_EQ(machine_.find(ana, "account", kStart + 300s), nullptr);
}

TEST_F(SignInsTest, ATicketIsGoodOnce) {
  const std::string ana = ticket();
  machine_.second_proven(ana, "192.0.2.1:1");
  EXPECT_EQ(machine_.find(ana, "account", kStart), nullptr);
}

TEST_F(SignInsTest, FiveWrongCodesEndATicket) {
  const std::string ana = ticket();
  for (int i = 0; i < 4; ++i) machine_.second_refused(ana);
  EXPECT_NE(machine_.find(ana, "account", kStart), nullptr);
  machine_.second_refused(ana);
  EXPECT_EQ(machine_.find(ana, "account", kStart), nullptr);
}

TEST_F(SignInsTest, NewTicketsBringNoNewGuesses) {
  Instant now = kStart;
  int tried = 0;
  for (int i = 0; i < 1000; ++i, now += 3s) {
    if (machine_.try_second(kAna.account, "192.0.2.1:1", now)) continue;
    ++tried;
    machine_.second_refused(ticket(kAna, now));
  }
  EXPECT_EQ(tried, 20) << "in 50 minutes";
  EXPECT_FALSE(machine_.try_second(kBen.account, "192.0.2.2:1", now)) << "others are not held up";
  EXPECT_FALSE(machine_.try_second(kAna.account, "192.0.2.1:1", kStart + 1h));
}

TEST_F(SignInsTest, OneAddressGuessesForFewAccounts) {
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(machine_.try_second(std::to_string(i), "192.0.2.1:1", kStart));
  EXPECT_TRUE(machine_.try_second("another", "192.0.2.1:2", kStart));
  EXPECT_FALSE(machine_.try_second("another", "192.0.2.2:1", kStart));
}

TEST_F(SignInsTest, RightCodesAreNotCounted) {
  for (int i = 0; i < 100; ++i) {
    ASSERT_FALSE(machine_.try_second(kAna.account, "192.0.2.1:1", kStart));
    machine_.second_proven(ticket(), "192.0.2.1:1");
  }
}

TEST_F(SignInsTest, RightPasswordsAreNotCounted) {
  for (int i = 0; i < 100; ++i) {
    ASSERT_FALSE(machine_.try_password(kAna.account, "192.0.2.1:1", kStart));
    (void)ticket();
  }
  for (int i = 0; i < 5; ++i) ASSERT_FALSE(machine_.try_password(kAna.account, "192.0.2.1:1", kStart));
  EXPECT_TRUE(machine_.try_password(kAna.account, "192.0.2.1:1", kStart));
}

TEST_F(SignInsTest, TheOldestTicketMakesRoom) {
  const std::string first = ticket(kAna, kStart);
  for (std::size_t i = 0; i < SignIns::kPendingMax; ++i) (void)ticket(kBen, kStart + 1s);
  EXPECT_EQ(machine_.pending(), SignIns::kPendingMax);
  EXPECT_EQ(machine_.find(first, "account", kStart + 1s), nullptr);
}

class SessionsTest : public ::testing::Test {
 protected:
  SeededRandom random_{2};
  Sessions sessions_{random_};
};

TEST_F(SessionsTest, EndWhenNobodyUsesThem) {
  const std::string token = sessions_.start(kAna.user, kStart);
  EXPECT_EQ(sessions_.use(token, kStart + 14min)->user, kAna.user);
  EXPECT_NE(sessions_.use(token, kStart + 28min), nullptr);
  EXPECT_EQ(sessions_.use(token, kStart + 43min), nullptr);
  EXPECT_EQ(sessions_.use(token, kStart + 14min), nullptr) << "what has ended does not come back";
  EXPECT_EQ(sessions_.use("", kStart), nullptr);
  EXPECT_EQ(sessions_.use("made up", kStart), nullptr);
}

TEST_F(SessionsTest, EndAfterAnHourInAnyCase) {
  const std::string token = sessions_.start(kAna.user, kStart);
  for (auto at = 10min; at < 60min; at += 10min) EXPECT_NE(sessions_.use(token, kStart + at), nullptr);
  EXPECT_EQ(sessions_.use(token, kStart + 60min), nullptr);
}

TEST_F(SessionsTest, AreFreshForTenMinutes) {
  const std::string token = sessions_.start(kAna.user, kStart);
  EXPECT_TRUE(Sessions::is_fresh(*sessions_.use(token, kStart + 9min), kStart + 9min));
  EXPECT_FALSE(Sessions::is_fresh(*sessions_.use(token, kStart + 10min), kStart + 10min));
}

TEST_F(SessionsTest, OfOnePersonEndTogetherButForTheOneInUse) {
  const std::string here = sessions_.start(kAna.user, kStart);
  const std::string there = sessions_.start(kAna.user, kStart);
  const std::string ben = sessions_.start(kBen.user, kStart);
  sessions_.end_all(kAna.user, here);
  EXPECT_NE(sessions_.use(here, kStart), nullptr);
  EXPECT_EQ(sessions_.use(there, kStart), nullptr);
  EXPECT_NE(sessions_.use(ben, kStart), nullptr);
  sessions_.end_all(kAna.user);
  EXPECT_EQ(sessions_.use(here, kStart), nullptr);
  sessions_.end(ben);
  EXPECT_EQ(sessions_.size(), 0U);
}

TEST_F(SessionsTest, OfOnePersonAreBounded) {
  const std::string first = sessions_.start(kAna.user, kStart);
  const std::string ben = sessions_.start(kBen.user, kStart);
  for (std::size_t i = 0; i < Sessions::kPerUserMax; ++i) (void)sessions_.start(kAna.user, kStart + 1s);
  EXPECT_EQ(sessions_.size(), Sessions::kPerUserMax + 1);
  EXPECT_EQ(sessions_.use(first, kStart + 1s), nullptr);
  EXPECT_NE(sessions_.use(ben, kStart + 1s), nullptr);
}

}  // namespace
}  // namespace postern::signin
