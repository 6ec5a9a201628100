// Associations over real sockets of loopback; time is given.
#include "services/client/proxy/udp_associations.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

namespace postern::client {
namespace {

using namespace std::chrono_literals;

/// A connection to itself: what the program has, and what the proxy has accepted.
std::pair<runtime::Descriptor, runtime::Descriptor> connect_pair() {
  const runtime::Descriptor listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(::bind(listener.get(), generic, size), 0);
  EXPECT_EQ(::listen(listener.get(), 1), 0);
  EXPECT_EQ(::getsockname(listener.get(), generic, &size), 0);
  runtime::Descriptor ours(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(ours.get(), generic, size), 0);
  return {std::move(ours), runtime::Descriptor(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC))};
}

struct AssociationsTest : testing::Test {
  AssociationsTest() {
    const std::string said("\5\1\0\5\3\0\1\0\0\0\0\0\0", 13);
    EXPECT_EQ(handshake.feed(as_bytes(said)), ProxyHandshake::Step::Ready);
  }
  /// The program's end of the connection.
  runtime::Descriptor open(bool expected = true) {
    auto [program, accepted] = connect_pair();
    EXPECT_EQ(associations.open(loop.now(), accepted, handshake, "", std::nullopt), expected);
    EXPECT_EQ(static_cast<bool>(accepted), !expected) << "an untouched connection stays its owner's";
    return std::move(program);
  }

  runtime::EventLoop loop;
  BlockPool pool{8U << 20};
  ProxyHandshake handshake{nullptr};
  UdpAssociations associations{loop, pool};
};

TEST_F(AssociationsTest, SayWhereToSend) {
  const runtime::Descriptor program = open();
  std::array<std::uint8_t, 10> answer{};
  ASSERT_EQ(::recv(program.get(), answer.data(), answer.size(), 0), 10);
  EXPECT_EQ(as_text(ByteView(answer).first(8)), std::string_view("\5\0\0\1\x7f\0\0\1", 8));
  EXPECT_NE(load_u16(&answer[8]), 0);
}

TEST_F(AssociationsTest, EndWhenNothingIsSaidForLong) {
  const runtime::Descriptor program = open();
  const Instant begun = loop.now();
  associations.end_turn(begun + UdpAssociations::kIdle - 1s);
  EXPECT_EQ(associations.size(), 1U);
  ASSERT_TRUE(associations.next_timeout());
  associations.end_turn(*associations.next_timeout() + 2s);
  EXPECT_EQ(associations.size(), 0U);
  EXPECT_TRUE(associations.poll_ended().has_value());
  EXPECT_FALSE(associations.next_timeout());
  std::array<char, 64> rest{};
  EXPECT_EQ(::recv(program.get(), rest.data(), 10, 0), 10);
  EXPECT_EQ(::recv(program.get(), rest.data(), rest.size(), 0), 0) << "the connection is closed too";
}

TEST_F(AssociationsTest, AreBoundedAndAnEndMakesRoom) {
  std::vector<runtime::Descriptor> programs;
  for (std::size_t i = 0; i < UdpAssociations::kAssociationsMax; ++i) programs.push_back(open());
  programs.push_back(open(false));
  EXPECT_EQ(associations.counters().refused, 1U);
  associations.end_turn(loop.now() + UdpAssociations::kIdle + 1s);
  EXPECT_EQ(associations.size(), 0U);
  programs.push_back(open());
}

}  // namespace
}  // namespace postern::client
