// Checks between two hosts behind NATs of every kind, in virtual time.
#include "path/checker.hpp"

#include <gtest/gtest.h>

#include "path/choice.hpp"
#include "path/nat_test_util.hpp"

namespace postern::path::test {
namespace {

using std::chrono::milliseconds;
using enum Dependence;

constexpr NatOptions kHome{EndpointIndependent, AddressAndPortDependent};
constexpr NatOptions kFullCone{EndpointIndependent, EndpointIndependent};
constexpr NatOptions kAddressDependent{AddressDependent, AddressDependent};
constexpr NatOptions kSymmetric{AddressAndPortDependent, AddressAndPortDependent};

struct NatCase {
  std::string_view name;
  NatOptions client;
  NatOptions connector;
  bool is_direct;
};

void PrintTo(const NatCase& value, std::ostream* out) {
  *out << value.name;
}

class Nats : public testing::TestWithParam<NatCase> {};

TEST_P(Nats, AreTraversedWhereTheirKindAllowsIt) {
  Internet net;
  Host* client = net.add_host(net.add_nat(nullptr, "198.51.100.20", GetParam().client), "192.168.77.10:4000", true);
  Host* connector =
      net.add_host(net.add_nat(nullptr, "203.0.113.30", GetParam().connector), "192.168.1.10:5000", false);
  net.run_round(*client, *connector);
  EXPECT_EQ(!client->proven.empty(), GetParam().is_direct);
  EXPECT_EQ(!connector->proven.empty(), GetParam().is_direct);
  for (const RemoteProven& proven : client->proven) EXPECT_EQ(proven.round_trip, 2 * Internet::kDelay);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, Nats,
    testing::Values(NatCase{"home_home", kHome, kHome, true},
                    NatCase{"address_dependent_home", kAddressDependent, kHome, false},
                    NatCase{"address_dependent_full_cone", kAddressDependent, kFullCone, true},
                    NatCase{"address_dependent_both", kAddressDependent, kAddressDependent, false},
                    NatCase{"symmetric_home", kSymmetric, kHome, false},
                    NatCase{"symmetric_full_cone", kSymmetric, kFullCone, true},
                    NatCase{"symmetric_address_filtering", kSymmetric, {EndpointIndependent, AddressDependent}, true},
                    NatCase{"home_symmetric", kHome, kSymmetric, false},
                    NatCase{"symmetric_both", kSymmetric, kSymmetric, false}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(Checks, PassACarriersNatInFrontOfTheHomeRouter) {
  Internet net;
  Nat* carrier = net.add_nat(nullptr, "198.51.100.1", kHome);
  Host* client = net.add_host(net.add_nat(carrier, "100.64.0.5", kHome), "192.168.77.10:4000", true);
  Host* connector = net.add_host(net.add_nat(nullptr, "203.0.113.30", kHome), "192.168.1.10:5000", false);
  net.run_round(*client, *connector);
  ASSERT_FALSE(client->proven.empty());
  EXPECT_EQ(client->proven.front().remote.ip, *IpAddress::parse("203.0.113.30"));
  ASSERT_FALSE(connector->proven.empty());
  EXPECT_EQ(connector->proven.front().remote.ip, *IpAddress::parse("198.51.100.1"));
}

TEST(Checks, BehindOneRouterGoStraightThroughTheLan) {
  Internet net;
  Nat* router = net.add_nat(nullptr, "203.0.113.30", kHome);
  Host* client = net.add_host(router, "192.168.1.99:4000", true);
  Host* connector = net.add_host(router, "192.168.1.10:5000", false);
  net.run_round(*client, *connector);
  ASSERT_EQ(client->proven.size(), 1U) << "this router does not hairpin";
  EXPECT_EQ(client->proven.front().remote, connector->address);
}

TEST(Checks, BetweenTwoSubnetsOfOneRouterNeedItsHairpin) {
  for (const bool hairpin : {false, true}) {
    Internet net;
    Nat* carrier = net.add_nat(nullptr, "198.51.100.1", {EndpointIndependent, EndpointIndependent, hairpin});
    Host* client = net.add_host(net.add_nat(carrier, "100.64.0.5", kHome), "192.168.77.10:4000", true);
    Host* connector = net.add_host(net.add_nat(carrier, "100.64.0.6", kHome), "192.168.1.10:5000", false);
    net.run_round(*client, *connector);
    EXPECT_EQ(!client->proven.empty(), hairpin);
  }
}

TEST(Checks, OverIpv6NeedNoNat) {
  Internet net;
  Host* client = net.add_host(nullptr, "[2001:db8:77::10]:4000", true);
  Host* connector = net.add_host(nullptr, "[2001:db8:1::10]:5000", false);
  net.run_round(*client, *connector);
  ASSERT_FALSE(client->proven.empty());
  EXPECT_EQ(client->proven.front().remote, connector->address);
}

TEST(Checks, EndWithNothingWhereUdpIsBlocked) {
  Internet net;
  Host* client = net.add_host(net.add_nat(nullptr, "198.51.100.20", kHome), "192.168.77.10:4000", true);
  Host* connector = net.add_host(net.add_nat(nullptr, "203.0.113.30", kHome), "192.168.1.10:5000", false);
  client->udp_blocked = true;
  net.run_round(*client, *connector);
  EXPECT_TRUE(client->proven.empty());
  EXPECT_TRUE(connector->proven.empty());
  EXPECT_TRUE(client->round_ended);
}

// --- bounds and hostile peers ----------------------------------------------------------------------------------------

class Lone : public testing::Test {
 protected:
  Lone() : client_(net_.add_host(nullptr, "203.0.113.1:4000", true)) {}

  /// A check as the connector makes it.
  [[nodiscard]] Bytes request(std::uint64_t counter, bool right_key = true) {
    const CheckKeys keys = make_check_keys(right_key ? Digest{2} : Digest{1}, Digest{}, Digest{9});
    std::array<std::uint8_t, kCheckSizeMax> buffer{};
    return to_bytes(write_request(buffer, keys, &fake_hmac, random_.make<wire::TransactionId>(), counter));
  }
  /// What leaves until nothing is due for ten seconds: remotes by number of datagrams, and the times.
  std::map<SocketAddress, unsigned> drain() {
    std::map<SocketAddress, unsigned> sent;
    const Instant end = now_ + std::chrono::seconds(10);
    while (now_ < end) {
      client_->checker.handle_timeout(now_);
      while (const auto transmit = client_->checker.poll_transmit(now_)) {
        ++sent[transmit->to];
        times_.push_back(now_);
        sizes_.push_back(transmit->datagram.size());
      }
      now_ = std::max(now_, client_->checker.next_timeout().value_or(end));
    }
    return sent;
  }
  bool give(const SocketAddress& from, const Bytes& datagram) {
    return client_->checker.handle_message(now_, from, *wire::StunView::parse(datagram));
  }
  [[nodiscard]] std::uint64_t dropped(CheckDrop reason) const {
    return client_->checker.drops()[static_cast<std::size_t>(reason)];
  }

  Internet net_;
  Host* client_;
  SeededRandom random_{5};
  Instant now_{std::chrono::seconds(100)};
  std::vector<Instant> times_;
  std::vector<std::size_t> sizes_;
  const SocketAddress kPeer = *SocketAddress::parse("198.51.100.7:5000");
};

TEST_F(Lone, CheckARemoteFiveTimesAtMostAndSixteenRemotesTwentyMillisecondsApart) {
  std::vector<Candidate> victims;
  for (std::uint16_t i = 0; i < 100; ++i) {
    victims.push_back({CandidateKind::Host, {IpAddress::v4(198, 51, 100, static_cast<std::uint8_t>(i)), 53}});
  }
  client_->checker.start_round(now_, checkable(client_->local, victims, {}));
  const auto sent = drain();
  EXPECT_EQ(sent.size(), kCandidatesMax);
  for (const auto& [remote, count] : sent) EXPECT_EQ(count, Checker::kChecksMax);
  for (std::size_t i = 1; i < times_.size(); ++i) EXPECT_GE(times_[i] - times_[i - 1], Checker::kSpacing);
}

TEST_F(Lone, AnswerARequestOnceAndWithNoMoreBytesThanItHad) {
  const Bytes first = request(1);
  EXPECT_TRUE(give(kPeer, first));
  const auto answer = client_->checker.poll_transmit(now_);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->to, kPeer);
  EXPECT_LE(answer->datagram.size(), first.size());
  (void)drain();
  EXPECT_TRUE(give(*SocketAddress::parse("192.0.2.66:53"), first)) << "a replay with a victim's address";
  EXPECT_EQ(dropped(CheckDrop::Replayed), 1U);
  EXPECT_TRUE(drain().empty());
}

TEST_F(Lone, AreSilentToWrongMacsAndToTheirOwnMessagesThatComeBack) {
  EXPECT_TRUE(give(kPeer, request(1, false)));
  EXPECT_EQ(dropped(CheckDrop::WrongMac), 1U);
  client_->checker.start_round(now_, std::array{kPeer});
  const auto own = client_->checker.poll_transmit(now_);
  ASSERT_TRUE(own);
  EXPECT_TRUE(give(kPeer, own->datagram)) << "its tag is ours";
  EXPECT_EQ(dropped(CheckDrop::WrongMac), 2U);
  EXPECT_FALSE(client_->checker.poll_event());
  EXPECT_EQ(drain()[kPeer], Checker::kChecksMax - 1);
}

TEST_F(Lone, DoNotKnowAnotherSessionsTag) {
  CheckKeys keys = make_check_keys(Digest{2}, Digest{}, Digest{8});
  std::array<std::uint8_t, kCheckSizeMax> buffer{};
  EXPECT_FALSE(give(kPeer, to_bytes(write_request(buffer, keys, &fake_hmac, {}, 1))));
}

TEST_F(Lone, TakeAnAnswerFromNobodyButTheOneThatWasAsked) {
  client_->checker.start_round(now_, std::array{kPeer});
  const auto own = client_->checker.poll_transmit(now_);
  const auto transaction = wire::StunView::parse(own->datagram)->transaction();
  const auto answer_with = [&](const Digest& key) {
    std::array<std::uint8_t, kCheckSizeMax> buffer{};
    return to_bytes(write_answer(buffer, make_check_keys(key, {}, {}), &fake_hmac, transaction, kPeer));
  };
  EXPECT_TRUE(give(*SocketAddress::parse("198.51.100.8:5000"), answer_with(Digest{2})));
  EXPECT_TRUE(give(kPeer, answer_with(Digest{1})));
  EXPECT_EQ(dropped(CheckDrop::StrayAnswer), 2U);
  EXPECT_FALSE(client_->checker.poll_event());
  EXPECT_TRUE(give(kPeer, answer_with(Digest{2})));
  const auto event = client_->checker.poll_event();
  ASSERT_TRUE(event);
  EXPECT_EQ(std::get<RemoteProven>(*event).remote, kPeer);
}

TEST_F(Lone, CheckNobodyOnBehalfOfForbiddenAddressesOrOfTooMany) {
  EXPECT_TRUE(give(*SocketAddress::parse("127.0.0.1:53"), request(1)));
  EXPECT_EQ(dropped(CheckDrop::Forbidden), 1U);
  EXPECT_FALSE(client_->checker.poll_transmit(now_));
  for (std::uint16_t i = 0; i < 40; ++i) (void)give({kPeer.ip, static_cast<std::uint16_t>(6000 + i)}, request(2U + i));
  EXPECT_EQ(dropped(CheckDrop::TooManyRemotes), 40U - kCandidatesMax);
  std::uint64_t total = 0;
  for (const auto& [remote, count] : drain()) total += count;
  EXPECT_LE(total, kCandidatesMax * Checker::kChecksMax + Checker::kAnswersMax);
}

TEST_F(Lone, ThatProbeASilentRemoteSaySoWithinASecond) {
  client_->checker.probe(now_, kPeer);
  const Instant begun = now_;
  bool is_silent = false;
  while (!is_silent && now_ < begun + std::chrono::seconds(5)) {
    client_->checker.handle_timeout(now_);
    while (client_->checker.poll_transmit(now_)) {
    }
    while (const auto event = client_->checker.poll_event()) is_silent |= std::holds_alternative<RemoteSilent>(*event);
    if (!is_silent) now_ = std::max(now_, client_->checker.next_timeout().value_or(now_ + milliseconds(100)));
  }
  EXPECT_TRUE(is_silent);
  EXPECT_LE(now_ - begun, std::chrono::seconds(1));
}

TEST(ReplayWindowOf64, TakesEachNumberOnceInAnyOrderAndNothingOlder) {
  ReplayWindow window;
  EXPECT_FALSE(window.take(0));
  EXPECT_TRUE(window.take(5));
  EXPECT_FALSE(window.take(5));
  EXPECT_TRUE(window.take(3));
  EXPECT_TRUE(window.take(68));
  EXPECT_FALSE(window.take(4)) << "64 behind";
  EXPECT_FALSE(window.take(5));
  EXPECT_TRUE(window.take(6));
  EXPECT_TRUE(window.take(1'000'000));
  EXPECT_FALSE(window.take(68));
}

}  // namespace
}  // namespace postern::path::test
