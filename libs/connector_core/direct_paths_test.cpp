// What a connector answers to candidates and checks, and from where it takes packets.
#include "connector_core/direct_paths.hpp"

#include <gtest/gtest.h>

#include <set>

#include "connector_core/core_test_util.hpp"
#include "identity/keys.hpp"

namespace postern::connector {
namespace {

using session::SessionId;
using std::chrono::seconds;

/// Sessions whose exported keys are made of their number.
class KeyedSessions final : public testing::ScriptedSessions {
 public:
  [[nodiscard]] std::optional<Digest> export_key(SessionId session, std::string_view label,
                                                 std::string_view context) const override {
    const std::string name = std::to_string(session.value) + std::string(context);
    return identity::hmac_sha256(as_bytes(label), as_bytes(name));
  }
  bool allow_remote(SessionId, const SocketAddress& remote) override { return allowed.insert(remote).second; }
  void disallow_remote(SessionId, const SocketAddress& remote) override { allowed.erase(remote); }
  [[nodiscard]] std::optional<session::Path> path_of(SessionId) const override { return path; }

  std::set<SocketAddress> allowed;
  std::optional<session::Path> path;
};

class DirectPathsOfAConnector : public ::testing::Test {
 protected:
  DirectPathsOfAConnector() {
    local_.port = 5000;
    local_.interfaces = {{*IpAddress::parse("203.0.113.30"), 24}};
    paths_.set_local(local_);
  }
  [[nodiscard]] path::CheckKeys client_keys(SessionId session) const {
    const auto key = [&](std::string_view context) {
      return *sessions_.export_key(session, path::kExporterLabel, context);
    };
    return path::make_check_keys(key("client"), key("connector"), key("tag"));
  }
  void ask(std::uint32_t round, SessionId session = kSession) {
    path::LocalView client;
    client.port = 4000;
    client.interfaces = {{*IpAddress::parse("198.51.100.20"), 24}};
    paths_.handle_candidates(now_, session, path::to_message(round, client));
  }
  [[nodiscard]] unsigned answers() {
    unsigned count = 0;
    while (paths_.poll_message()) ++count;
    return count;
  }
  /// Answers a check as the client that is there.
  void prove(const path::CheckTransmit& check) {
    std::array<std::uint8_t, path::kCheckSizeMax> buffer{};
    const auto transaction = wire::StunView::parse(check.datagram)->transaction();
    const ByteView answer =
        path::write_answer(buffer, client_keys(kSession), &identity::hmac_sha256, transaction, check.to);
    EXPECT_TRUE(paths_.handle_message(now_, check.to, *wire::StunView::parse(answer)));
  }
  [[nodiscard]] Bytes request(SessionId session, std::uint64_t counter) {
    std::array<std::uint8_t, path::kCheckSizeMax> buffer{};
    return to_bytes(path::write_request(buffer, client_keys(session), &identity::hmac_sha256,
                                        random_.make<wire::TransactionId>(), counter));
  }

  static constexpr SessionId kSession{7};
  KeyedSessions sessions_;
  SeededRandom random_{1};
  DirectPaths paths_{sessions_, random_, &identity::hmac_sha256};
  path::LocalView local_;
  Instant now_{seconds(1000)};
};

TEST_F(DirectPathsOfAConnector, AnswerWithTheirOwnCandidatesAndCheckThoseOfTheClient) {
  ask(3);
  const auto answer = paths_.poll_message();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->first, kSession);
  EXPECT_EQ(answer->second.round(), 3U);
  EXPECT_EQ(path::from_message(answer->second), path::gather(local_));
  const auto check = paths_.poll_transmit(now_);
  ASSERT_TRUE(check);
  EXPECT_EQ(check->to, *SocketAddress::parse("198.51.100.20:4000"));
  EXPECT_TRUE(sessions_.allowed.empty()) << "not before it was answered";
  prove(*check);
  EXPECT_TRUE(sessions_.allowed.contains(check->to));
}

TEST_F(DirectPathsOfAConnector, BeginNoMoreRoundsThanTheirBound) {
  for (std::uint32_t round = 1; round <= 20; ++round) ask(round);
  EXPECT_EQ(answers(), DirectPaths::kRoundsBurst);
  EXPECT_EQ(paths_.rounds_refused(), 20U - DirectPaths::kRoundsBurst);
  now_ += 2 * DirectPaths::kRoundRefill;
  for (std::uint32_t round = 21; round <= 30; ++round) ask(round);
  EXPECT_EQ(answers(), 2U);
}

TEST_F(DirectPathsOfAConnector, TellClientsThatHaveAskedWhenTheirPlaceChanges) {
  paths_.set_local(local_);
  EXPECT_EQ(answers(), 0U);
  ask(1);
  EXPECT_EQ(answers(), 1U);
  local_.reflexive.push_back(*SocketAddress::parse("203.0.113.31:5000"));
  paths_.set_local(local_);
  const auto told = paths_.poll_message();
  ASSERT_TRUE(told);
  EXPECT_EQ(told->second.round(), 0U);
}

TEST_F(DirectPathsOfAConnector, KnowTheSessionOfACheckByItsTagAndForgetItWithTheSession) {
  ask(1);
  ask(1, SessionId{8});
  const SocketAddress from = *SocketAddress::parse("198.51.100.9:4009");
  const Bytes second = request(SessionId{8}, 1);
  EXPECT_TRUE(paths_.handle_message(now_, from, *wire::StunView::parse(second)));
  const Bytes unknown = request(SessionId{9}, 1);
  EXPECT_FALSE(paths_.handle_message(now_, from, *wire::StunView::parse(unknown)));
  paths_.handle_closed(SessionId{8});
  const Bytes late = request(SessionId{8}, 2);
  EXPECT_FALSE(paths_.handle_message(now_, from, *wire::StunView::parse(late)));
}

TEST_F(DirectPathsOfAConnector, KeepTheRemoteInUseWhenThereAreTooMany) {
  ask(1);
  std::optional<SocketAddress> first;
  for (std::uint64_t i = 1; i <= 2 * DirectPaths::kProvenMax; ++i) {
    if (i % 12 == 0) ask(static_cast<std::uint32_t>(i));  // a new round has room for new remotes
    const SocketAddress from{*IpAddress::parse("198.51.100.9"), static_cast<std::uint16_t>(4000 + i)};
    (void)paths_.handle_message(now_, from, *wire::StunView::parse(request(kSession, i)));
    for (int poll = 0; poll < 8; ++poll) {
      now_ += std::chrono::milliseconds(20);
      const auto sent = paths_.poll_transmit(now_);
      if (!sent || wire::StunView::parse(sent->datagram)->type() != wire::StunType::BindingRequest) continue;
      if (!first) sessions_.path = session::Path{session::kDirectLabel, *(first = sent->to)};
      prove(*sent);
    }
  }
  EXPECT_LE(sessions_.allowed.size(), DirectPaths::kProvenMax);
  EXPECT_TRUE(sessions_.allowed.contains(*first));
}

}  // namespace
}  // namespace postern::connector
