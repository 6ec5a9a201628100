// Direct paths as the client sees them: real QUIC sessions and checks in virtual time, a connector made of parts.
#include "client_core/direct_paths.hpp"

#include <gtest/gtest.h>

#include "identity/keys.hpp"
#include "session/pair_test_util.hpp"

namespace postern::client {
namespace {

using path::RelayReason;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kStep = milliseconds(5);

class DirectPathsTest : public testing::Test {
 protected:
  DirectPathsTest() : paths_({}, pair_.client.endpoint, random_, &identity::hmac_sha256) {
    pair_.establish();
    pair_.run_for(milliseconds(200));
    pair_.client.on_event = [this](const session::Event& event) { (void)paths_.handle_event(pair_.now, event); };
    const auto key = [&](std::string_view context) {
      return *pair_.connector.endpoint.export_key(pair_.peer_session, path::kExporterLabel, context);
    };
    connector_.emplace(path::make_check_keys(key("connector"), key("client"), key("tag")), &identity::hmac_sha256,
                       random_);
    local_.port = 4000;
    local_.interfaces = {{*IpAddress::parse("2001:db8:77::10"), 64}};
    paths_.set_local(pair_.now, local_);
    paths_.set_relay(pair_.now, kRelay);
  }

  void start() { paths_.handle_ready(pair_.now, pair_.session); }
  /// Everything for so long, a step at a time: sessions, checks of both sides, messages of the control stream.
  void run_for(Duration duration) {
    for (const Instant end = pair_.now + duration; pair_.now < end;) {
      pair_.run_for(kStep);
      paths_.handle_timeout(pair_.now);
      connector_->handle_timeout(pair_.now);
      while (auto message = paths_.poll_message()) answer(message->second);
      exchange_checks();
    }
  }
  bool run_until(const std::function<bool()>& done, Duration limit) {
    for (const Instant end = pair_.now + limit; !done() && pair_.now < end;) run_for(kStep);
    return done();
  }
  void answer(const wire::Candidates& theirs) {
    ++rounds_;
    if (!answers_candidates_) return;
    path::LocalView view;
    view.port = kFar.port;
    view.interfaces = {{kFar.ip, 64}};
    connector_->start_round(pair_.now, path::checkable(view, path::from_message(theirs), {}));
    paths_.handle_candidates(pair_.now, pair_.session, path::to_message(theirs.round(), view));
  }
  void exchange_checks() {
    while (const auto sent = paths_.poll_transmit(pair_.now)) {
      if (!is_cut() && sent->to == kFar) {
        (void)connector_->handle_message(pair_.now, kNear, *wire::StunView::parse(sent->datagram));
      }
    }
    while (const auto sent = connector_->poll_transmit(pair_.now)) {
      if (!is_cut() && sent->to == kNear) {
        (void)paths_.handle_message(pair_.now, kFar, *wire::StunView::parse(sent->datagram));
      }
    }
    while (const auto event = connector_->poll_event()) {
      const auto* proven = std::get_if<path::RemoteProven>(&*event);
      // The session's network of this test knows a pair of addresses by the connector's end.
      if (proven != nullptr) (void)pair_.connector.endpoint.allow_remote(pair_.peer_session, kFar);
    }
  }
  void cut(bool is_cut) { pair_.up.direct.down = pair_.down.direct.down = is_cut; }
  [[nodiscard]] bool is_cut() const { return pair_.up.direct.down; }
  void go_direct() {
    start();
    ASSERT_TRUE(run_until([&] { return is_direct(); }, seconds(3)));
  }
  [[nodiscard]] bool is_direct() const { return paths_.report(pair_.session).is_direct; }
  [[nodiscard]] RelayReason reason() const { return paths_.report(pair_.session).reason; }
  void write(std::size_t size) {
    const auto stream = pair_.client.endpoint.open_stream(pair_.session);
    ASSERT_TRUE(stream);
    ASSERT_TRUE(pair_.client.endpoint.write(pair_.session, *stream,
                                            pair_.client.pool.copy(Bytes(std::min<std::size_t>(size, 60'000)))));
  }

  /// Whatever was written has been acknowledged.
  [[nodiscard]] bool has_arrived() const { return pair_.client.endpoint.stats(pair_.session)->bytes_in_flight == 0; }

  const SocketAddress kRelay = *SocketAddress::parse("192.0.2.1:443");
  const SocketAddress kFar = *SocketAddress::parse("[2001:db8:1::10]:5000");
  const SocketAddress kNear = *SocketAddress::parse("[2001:db8:77::10]:4000");
  session::test::Pair pair_;
  SeededRandom random_{3};
  DirectPaths paths_;
  std::optional<path::Checker> connector_;
  path::LocalView local_;
  bool answers_candidates_ = true;
  unsigned rounds_ = 0;
};

TEST_F(DirectPathsTest, ASessionGoesDirectOnceBothEndsHaveProvenEachOther) {
  EXPECT_EQ(reason(), RelayReason::NotReady);
  go_direct();
  EXPECT_EQ(reason(), RelayReason::None);
  EXPECT_TRUE(paths_.report(pair_.session).round_trip);
  const auto path = pair_.client.endpoint.stats(pair_.session)->path;
  EXPECT_EQ(path, (session::Path{session::kDirectLabel, kFar}));
}

TEST_F(DirectPathsTest, SaysThatChecksRunAndThatNoneWasAnswered) {
  cut(true);
  start();
  run_for(milliseconds(100));
  EXPECT_EQ(reason(), RelayReason::ChecksRunning);
  run_for(seconds(3));
  EXPECT_EQ(reason(), RelayReason::NoAnswer);
  EXPECT_FALSE(is_direct());
}

TEST_F(DirectPathsTest, AsksAgainAtGrowingIntervalsWhileThereAreFlowsAndNotWithoutThem) {
  cut(true);
  start();
  run_for(std::chrono::minutes(2));
  EXPECT_EQ(rounds_, 1U) << "no flow, no packet";
  paths_.note_flows(pair_.now, pair_.session, 1);
  run_for(std::chrono::minutes(5));
  const unsigned in_five_minutes = rounds_;
  EXPECT_GE(in_five_minutes, 4U);
  EXPECT_LE(in_five_minutes, 8U);
  run_for(std::chrono::minutes(20));
  EXPECT_LE(rounds_ - in_five_minutes, 4U);
}

TEST_F(DirectPathsTest, AChangeOfTheNetworkStartsARoundAtOnce) {
  cut(true);
  start();
  paths_.note_flows(pair_.now, pair_.session, 1);
  run_for(seconds(30));
  const unsigned before = rounds_;
  cut(false);
  local_.interfaces.push_back({*IpAddress::parse("198.51.100.9"), 24});
  paths_.set_local(pair_.now, local_);
  ASSERT_TRUE(run_until([&] { return is_direct(); }, seconds(2)));
  EXPECT_EQ(rounds_, before + 1);
}

TEST_F(DirectPathsTest, AConnectorWhosePlaceHasChangedIsAskedAgainAtOnce) {
  cut(true);
  start();
  paths_.note_flows(pair_.now, pair_.session, 1);
  run_for(seconds(30));
  cut(false);
  wire::Candidates moved;
  paths_.handle_candidates(pair_.now, pair_.session, moved);
  EXPECT_TRUE(run_until([&] { return is_direct(); }, seconds(2)));
}

TEST_F(DirectPathsTest, AConnectorCannotMakeTheClientSendMoreThanARoundEachFiveSeconds) {
  cut(true);
  start();
  paths_.note_flows(pair_.now, pair_.session, 1);
  run_for(seconds(30));
  const unsigned before = rounds_;
  for (int i = 0; i < 100; ++i) {
    paths_.handle_candidates(pair_.now, pair_.session, wire::Candidates());
    run_for(milliseconds(200));
  }
  EXPECT_LE(rounds_ - before, 6U);
}

TEST_F(DirectPathsTest, ADirectPathThatDiesUnderTrafficIsLeftWithinTwoSecondsAndTakenAgainLater) {
  go_direct();
  paths_.note_flows(pair_.now, pair_.session, 1);
  write(50'000);
  run_for(seconds(12));
  ASSERT_TRUE(is_direct());
  cut(true);
  write(50'000);
  const Instant begun = pair_.now;
  ASSERT_TRUE(run_until([&] { return !is_direct(); }, seconds(5)));
  EXPECT_LE(pair_.now - begun, seconds(2));
  EXPECT_EQ(reason(), RelayReason::WentSilent);
  cut(false);
  EXPECT_TRUE(run_until([&] { return is_direct(); }, seconds(10)));
}

TEST_F(DirectPathsTest, APathThatDiesSoonIsHeldBackForLongerEachTime) {
  go_direct();
  paths_.note_flows(pair_.now, pair_.session, 1);
  std::vector<Duration> waits;
  for (int i = 0; i < 3; ++i) {
    cut(true);
    write(50'000);
    ASSERT_TRUE(run_until([&] { return !is_direct(); }, seconds(5)));
    cut(false);
    const Instant left = pair_.now;
    ASSERT_TRUE(run_until([&] { return is_direct(); }, std::chrono::minutes(2)));
    waits.push_back(pair_.now - left);
  }
  EXPECT_GE(waits[0], seconds(4));
  EXPECT_GE(waits[1], seconds(9));
  EXPECT_GE(waits[2], seconds(18));
}

TEST_F(DirectPathsTest, APathWhoseMtuFallsIsBegunAfreshAndStaysDirect) {
  go_direct();
  paths_.note_flows(pair_.now, pair_.session, 1);
  write(50'000);
  run_for(seconds(12));
  pair_.up.direct.mtu = pair_.down.direct.mtu = 1300;
  const auto stream = *pair_.client.endpoint.open_stream(pair_.session);
  const Bytes content(60'000);
  ASSERT_TRUE(pair_.client.endpoint.write(pair_.session, stream, pair_.client.pool.copy(content)));
  std::size_t arrived = 0;
  pair_.connector.on_event = [&](const session::Event& event) {
    const auto* readable = std::get_if<session::StreamReadable>(&event);
    if (readable == nullptr || readable->stream != stream) return;
    for (Slice slice = pair_.connector.endpoint.read(readable->session, stream); !slice.empty();
         slice = pair_.connector.endpoint.read(readable->session, stream)) {
      arrived += slice.size();
    }
  };
  EXPECT_TRUE(run_until([&] { return arrived == content.size(); }, seconds(8)));
  EXPECT_TRUE(is_direct());
}

TEST_F(DirectPathsTest, APathWhoseMtuFallsForWhatComesIsBegunAfreshTooAndStaysDirect) {
  go_direct();
  paths_.note_flows(pair_.now, pair_.session, 1);
  const auto stream = *pair_.client.endpoint.open_stream(pair_.session);
  ASSERT_TRUE(pair_.client.endpoint.write(pair_.session, stream, pair_.client.pool.copy(Bytes(10))));
  std::size_t arrived = 0;
  pair_.client.on_event = [&](const session::Event& event) {
    (void)paths_.handle_event(pair_.now, event);
    if (!std::holds_alternative<session::StreamReadable>(event)) return;
    for (Slice slice = pair_.client.endpoint.read(pair_.session, stream); !slice.empty();
         slice = pair_.client.endpoint.read(pair_.session, stream)) {
      arrived += slice.size();
      pair_.client.endpoint.consume(pair_.session, stream, slice.size());
    }
  };
  run_for(milliseconds(100));
  ASSERT_TRUE(pair_.connector.endpoint.write(pair_.peer_session, stream, pair_.connector.pool.copy(Bytes(60'000))));
  ASSERT_TRUE(run_until([&] { return arrived == 60'000; }, seconds(8)));
  run_for(seconds(12));
  pair_.up.direct.mtu = pair_.down.direct.mtu = 1300;
  ASSERT_TRUE(pair_.connector.endpoint.write(pair_.peer_session, stream, pair_.connector.pool.copy(Bytes(60'000))));
  EXPECT_TRUE(run_until([&] { return arrived == 120'000; }, seconds(4)));
  run_for(seconds(5));
  EXPECT_TRUE(is_direct());
}

TEST_F(DirectPathsTest, AQuietPathIsProbedOnceAndThenLeftInPeace) {
  go_direct();
  write(50'000);
  run_for(seconds(5));
  const std::uint64_t checks = paths_.checks_sent();
  run_for(std::chrono::minutes(10));
  EXPECT_LE(paths_.checks_sent() - checks, 1U);
  EXPECT_TRUE(is_direct());
}

TEST_F(DirectPathsTest, APathThatNothingUsedForLongIsLeftBeforeTheNextFlow) {
  go_direct();
  run_for(std::chrono::minutes(5));
  ASSERT_TRUE(is_direct());
  paths_.note_flows(pair_.now, pair_.session, 1);
  EXPECT_FALSE(is_direct());
  EXPECT_TRUE(run_until([&] { return is_direct(); }, seconds(3))) << "and looked for again";
}

TEST_F(DirectPathsTest, AConnectorThatKnowsNoCandidatesAndARelayOverTcpAreSaid) {
  answers_candidates_ = false;
  start();
  run_for(seconds(10));
  EXPECT_EQ(reason(), RelayReason::AwaitingPeer);
  paths_.set_relay(pair_.now, SocketAddress{*IpAddress::parse("100::1"), 443});
  paths_.note_flows(pair_.now, pair_.session, 1);
  answers_candidates_ = true;
  cut(true);
  run_for(seconds(30));
  EXPECT_EQ(reason(), RelayReason::UdpBlocked);
}

TEST_F(DirectPathsTest, ARelayOverTcpDoesNotKeepASessionFromAPathOverUdp) {
  paths_.set_relay(pair_.now, SocketAddress{*IpAddress::parse("100::1"), 443});
  go_direct();
  EXPECT_EQ(reason(), RelayReason::None);
}

TEST_F(DirectPathsTest, WithoutARelayASilentPathIsKeptAndUsedAgainOnceItAnswers) {
  go_direct();
  paths_.note_flows(pair_.now, pair_.session, 1);
  paths_.set_relay(pair_.now, std::nullopt);
  cut(true);
  write(50'000);
  run_for(seconds(20));
  EXPECT_TRUE(is_direct()) << "there is no other way";
  cut(false);
  EXPECT_TRUE(run_until([&] { return has_arrived(); }, seconds(8)));
  EXPECT_TRUE(is_direct());
}

TEST_F(DirectPathsTest, APathThatWasSilentWithoutARelayIsLeftAsSoonAsThereIsOne) {
  go_direct();
  paths_.note_flows(pair_.now, pair_.session, 1);
  paths_.set_relay(pair_.now, std::nullopt);
  cut(true);
  write(50'000);
  run_for(seconds(5));
  ASSERT_TRUE(is_direct());
  paths_.set_relay(pair_.now, kRelay);
  EXPECT_FALSE(is_direct());
  EXPECT_TRUE(run_until([&] { return has_arrived(); }, seconds(8)));
}

TEST_F(DirectPathsTest, ASessionWhoseRelayIsLostGoesBackToTheDirectPathThatItKnows) {
  go_direct();
  paths_.note_flows(pair_.now, pair_.session, 1);
  cut(true);
  write(50'000);
  pair_.up.options.down = pair_.down.options.down = true;
  answers_candidates_ = false;
  ASSERT_TRUE(run_until([&] { return !is_direct(); }, seconds(5)));
  run_for(seconds(5));
  paths_.set_relay(pair_.now, std::nullopt);
  run_for(seconds(30));
  EXPECT_FALSE(is_direct());
  cut(false);
  EXPECT_TRUE(run_until([&] { return is_direct() && has_arrived(); }, seconds(25)));
}

TEST_F(DirectPathsTest, ForgetsSessionsThatHaveEnded) {
  start();
  paths_.retain([](session::SessionId) { return false; });
  EXPECT_EQ(reason(), RelayReason::NotReady);
  EXPECT_FALSE(paths_.next_timeout());
}

}  // namespace
}  // namespace postern::client
