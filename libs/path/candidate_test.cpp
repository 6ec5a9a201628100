#include "path/candidate.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "path/candidate_message.hpp"
#include "path/choice.hpp"

namespace postern::path {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

SocketAddress at(std::string_view text) {
  return *SocketAddress::parse(text);
}
IpAddress ip(std::string_view text) {
  return *IpAddress::parse(text);
}
Candidate host(std::string_view text) {
  return {CandidateKind::Host, at(text)};
}
Candidate reflexive(std::string_view text) {
  return {CandidateKind::Reflexive, at(text)};
}

LocalView laptop() {
  LocalView local;
  local.port = 4000;
  local.interfaces = {{ip("127.0.0.1"), 8},
                      {ip("192.168.77.10"), 24},
                      {ip("fe80::1"), 64},
                      {ip("fd00:77::10"), 64},
                      {ip("2001:db8:77::10"), 64}};
  local.reflexive = {at("203.0.113.20:41000")};
  return local;
}

TEST(Gathering, NamesTheBestFirstAndNothingThatCannotBeReached) {
  const auto all = gather(laptop());
  ASSERT_EQ(all.size(), 4U);
  EXPECT_EQ(all[0], host("[2001:db8:77::10]:4000"));
  EXPECT_EQ(all[1], reflexive("203.0.113.20:41000"));
  EXPECT_EQ(all[2], host("192.168.77.10:4000"));
  EXPECT_EQ(all[3], host("[fd00:77::10]:4000"));
}

TEST(Gathering, NamesNothingBeforeThereIsASocketAndNeverMoreThanSixteen) {
  LocalView local = laptop();
  local.port = 0;
  EXPECT_THAT(gather(local), IsEmpty());
  local.port = 4000;
  for (std::uint8_t i = 1; i < 100; ++i) local.interfaces.push_back({IpAddress::v4(10, 0, 0, i), 24});
  EXPECT_EQ(gather(local).size(), kCandidatesMax);
}

TEST(Gathering, NoticesANatThatGivesEachDestinationAnotherPort) {
  LocalView local = laptop();
  EXPECT_FALSE(maps_per_destination(local));
  local.reflexive.push_back(at("[2001:db8:77::10]:4000"));
  EXPECT_FALSE(maps_per_destination(local)) << "another family says nothing";
  local.reflexive.push_back(at("203.0.113.20:41001"));
  EXPECT_TRUE(maps_per_destination(local));
}

TEST(Checking, LeavesPrivateAddressesOfStrangersAlone) {
  const std::vector<Candidate> peer = {host("192.168.1.10:5000"), host("[fd00:1::10]:5000"), host("100.64.3.4:5000"),
                                       reflexive("203.0.113.30:5000")};
  EXPECT_THAT(checkable(laptop(), peer, {}), ElementsAre(at("203.0.113.30:5000")));
}

TEST(Checking, TriesPrivateAddressesOfTheSameSubnetOrBehindTheSamePublicAddress) {
  const std::vector<Candidate> neighbour = {host("192.168.77.11:5000"), host("192.168.9.11:5000")};
  EXPECT_THAT(checkable(laptop(), neighbour, {}), ElementsAre(at("192.168.77.11:5000")));
  const std::vector<Candidate> same_router = {host("192.168.9.11:5000"), reflexive("203.0.113.20:5000")};
  EXPECT_THAT(checkable(laptop(), same_router, {}), ElementsAre(at("192.168.9.11:5000"), at("203.0.113.20:5000")));
}

TEST(Checking, NeverTriesForbiddenAddressesWhoeverNamesThem) {
  const std::vector<Candidate> peer = {
      host("127.0.0.1:53"),        host("0.0.0.0:53"),        host("169.254.169.254:80"),
      host("224.0.0.1:53"),        host("255.255.255.255:9"), host("[::1]:53"),
      host("[fe80::2]:53"),        host("[ff02::1]:53"),      host("[::]:53"),
      host("[::ffff:10.0.0.1]:53")};
  EXPECT_THAT(checkable(laptop(), peer, {}), IsEmpty());
  EXPECT_THAT(checkable(laptop(), std::array{host("203.0.113.30:0")}, {}), IsEmpty());
}

TEST(Checking, TriesNeitherItselfNorWhatLeadsIntoOurOwnTunnel) {
  const std::array excluded = {*IpPrefix::parse("203.0.113.0/24"), *IpPrefix::parse("192.168.77.0/24")};
  const std::vector<Candidate> peer = {host("192.168.77.10:4000"), reflexive("203.0.113.30:5000"),
                                       host("192.168.77.11:5000")};
  EXPECT_THAT(checkable(laptop(), peer, excluded), ElementsAre(at("192.168.77.11:5000")))
      << "on the link the kernel's route wins";
}

TEST(CandidateMessages, CarryWhatWasGatheredAndDropWhatMakesNoSense) {
  wire::Candidates message = to_message(7, laptop());
  EXPECT_EQ(message.round(), 7U);
  EXPECT_EQ(from_message(message), gather(laptop()));
  message.mutable_candidates(0)->set_address("abc");
  message.mutable_candidates(1)->set_port(70'000);
  EXPECT_EQ(from_message(message).size(), gather(laptop()).size() - 2);
  for (int i = 0; i < 1000; ++i) *message.add_candidates() = message.candidates(2);
  EXPECT_LE(from_message(message).size(), kCandidatesMax);
}

TEST(Choice, PrefersIpv6AndTheLanUntilTheyAreClearlySlower) {
  using std::chrono::milliseconds;
  const ProvenRemote v4{at("203.0.113.30:5000"), milliseconds(20)};
  const ProvenRemote v6{at("[2001:db8:1::10]:5000"), milliseconds(22)};
  const ProvenRemote slow_v6{at("[2001:db8:1::10]:5000"), milliseconds(30)};
  const ProvenRemote lan{at("192.168.77.11:5000"), milliseconds(1)};
  EXPECT_EQ(choose(std::array{v4, v6}, std::nullopt)->remote, v6.remote);
  EXPECT_EQ(choose(std::array{v4, slow_v6}, std::nullopt)->remote, v4.remote);
  EXPECT_EQ(choose(std::array{v6, v4, lan}, std::nullopt)->remote, lan.remote);
  EXPECT_FALSE(choose({}, std::nullopt));
}

TEST(Choice, StaysWhereItIsUnlessAnotherIsBetterByMoreThanJitter) {
  using std::chrono::milliseconds;
  const ProvenRemote current{at("203.0.113.30:5000"), milliseconds(24)};
  const ProvenRemote better{at("203.0.113.31:5000"), milliseconds(20)};
  const ProvenRemote far_better{at("203.0.113.32:5000"), milliseconds(10)};
  EXPECT_EQ(choose(std::array{current, better}, current.remote)->remote, current.remote);
  EXPECT_EQ(choose(std::array{current, better, far_better}, current.remote)->remote, far_better.remote);
  EXPECT_EQ(choose(std::array{better}, current.remote)->remote, better.remote) << "the current one is proven no more";
}

TEST(RelayReasons, EachHasASentence) {
  for (std::size_t i = 1; i < static_cast<std::size_t>(RelayReason::kCount); ++i) {
    EXPECT_FALSE(sentence(static_cast<RelayReason>(i)).empty());
  }
  EXPECT_TRUE(sentence(RelayReason::None).empty());
}

}  // namespace
}  // namespace postern::path
