#include "services/server/relay_links.hpp"

#include <set>

#include "base/link_address.hpp"
#include "runtime/http/link_fixture.hpp"

namespace postern::server {
namespace {

using namespace std::chrono_literals;
using runtime::RawPeer;

struct RelayLinksTest : runtime::LinkFixture {
  LinkLimits limits{.links_max = 6, .unbound_max = 3, .unbound_time = 10s, .silence_max = 60s, .idle_max = 120s};
  std::optional<RelayLinks> links;
  std::vector<std::unique_ptr<RawPeer>> agents;
  std::vector<SocketAddress> heard;
  std::set<SocketAddress> bound;
  std::vector<SocketAddress> closed;

  void SetUp() override {
    links.emplace(loop, limits,
                  RelayLinks::Callbacks{
                      .train = [this](const SocketAddress& from, MutableBytes, std::size_t) { heard.push_back(from); },
                      .closed = [this](const SocketAddress& from) { closed.push_back(from); },
                      .is_bound = [this](const SocketAddress& from) { return bound.contains(from); }});
  }
  void TearDown() override { links.reset(); }  // it tells of each that it closes
  RawPeer& come() {
    auto both = accepted();
    links->accept(std::move(both.connection), "a2V5");
    agents.push_back(std::move(both.peer));
    peers.push_back(agents.back().get());
    EXPECT_TRUE(until([&] { return agents.back()->received.contains("\r\n\r\n"); }));
    return *agents.back();
  }
  [[nodiscard]] std::size_t open() const { return links->stats().open; }
};

TEST_F(RelayLinksTest, EachLinkSpeaksForItsOwnAddressOnly) {
  come();
  come();
  const Bytes message = runtime::link_message(1, 40);
  for (const auto& agent : agents) agent->say(runtime::link_frame(wire::FrameKind::Binary, message));
  ASSERT_TRUE(until([&] { return heard.size() == 2; }));
  EXPECT_EQ(std::set(heard.begin(), heard.end()), (std::set{link_address(1), link_address(2)}));
  links->send(loop.now(), link_address(2), Bytes(40, 7), 40);
  ASSERT_TRUE(until([&] { return agents[1]->received.ends_with(std::string(40, 7)); }));
  EXPECT_FALSE(agents[0]->received.ends_with(std::string(40, 7)));
}

TEST_F(RelayLinksTest, AnAddressIsNeverGivenTwice) {
  come().vanish();
  ASSERT_TRUE(until([&] { return closed.size() == 1; }));
  links->send(loop.now(), link_address(1), Bytes(80, 7), 40);
  EXPECT_EQ(links->stats().dropped_datagrams, 2U) << "nobody is there any more";
  come().say(runtime::link_frame(wire::FrameKind::Binary, runtime::link_message(1, 40)));
  ASSERT_TRUE(until([&] { return heard.size() == 1; }));
  EXPECT_EQ(heard[0], link_address(2));
}

TEST_F(RelayLinksTest, OfThoseThatNobodyBindsTheOldestMakesRoom) {
  RawPeer& first = come();
  come();
  come();
  EXPECT_EQ(open(), 3U);
  come();
  EXPECT_EQ(open(), 3U);
  ASSERT_TRUE(until([&] { return first.is_over(); }));
  EXPECT_EQ(closed, std::vector{link_address(1)});
  EXPECT_EQ(links->stats().never_bound, 1U);
}

TEST_F(RelayLinksTest, ThoseThatAreBoundStayWhoeverComes) {
  for (std::uint64_t i = 1; i <= 3; ++i) {
    come();
    bound.insert(link_address(i));
  }
  for (int i = 0; i < 10; ++i) come();
  EXPECT_EQ(open(), 6U);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_FALSE(agents[i]->is_over());
}

TEST_F(RelayLinksTest, BeyondTheBoundOneMoreIsRefusedWithStatus503) {
  for (std::uint64_t i = 1; i <= 6; ++i) {
    come();
    bound.insert(link_address(i));
  }
  RawPeer& more = come();
  ASSERT_TRUE(until([&] { return more.is_over(); }));
  EXPECT_TRUE(more.received.starts_with("HTTP/1.1 503 ")) << more.received;
  EXPECT_EQ(open(), 6U);
  EXPECT_EQ(links->stats().refused_full, 1U);
}

TEST_F(RelayLinksTest, OneThatNobodyBindsIsClosedInTime) {
  RawPeer& agent = come();
  const Instant came = loop.now();
  links->handle_timeout(came + 9s);
  EXPECT_EQ(open(), 1U);
  links->handle_timeout(came + 11s);
  EXPECT_EQ(open(), 0U);
  EXPECT_TRUE(until([&] { return agent.is_over(); }));
  EXPECT_EQ(links->next_timeout(), std::nullopt) << "no link, no timer";
}

TEST_F(RelayLinksTest, OneWhoseAgentHasGoneToUdpIsKeptForAWhile) {
  come();
  const Instant came = loop.now();
  bound.insert(link_address(1));
  links->handle_timeout(came + 2s);
  bound.clear();
  links->handle_timeout(came + 50s);
  EXPECT_EQ(open(), 1U);
  links->handle_timeout(came + 130s);
  EXPECT_EQ(open(), 0U);
}

TEST_F(RelayLinksTest, OneThatFallsSilentIsClosedEvenIfItIsBound) {
  come();
  bound.insert(link_address(1));
  links->handle_timeout(loop.now() + 59s);
  EXPECT_EQ(open(), 1U);
  links->handle_timeout(loop.now() + 62s);
  EXPECT_EQ(open(), 0U);
}

}  // namespace
}  // namespace postern::server
