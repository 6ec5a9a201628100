// Against a DNS server of our own on loopback, in the same loop.
#include "runtime/dns/resolver.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <map>

#include "runtime/loop/descriptor.hpp"

namespace postern::runtime {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Result = std::expected<std::vector<IpAddress>, DnsFailure>;

/// Answers A and AAAA questions from a table; other names get NXDOMAIN; "silent.test" gets no answer.
class NameServer {
 public:
  explicit NameServer(EventLoop& loop) : loop_(loop) {
    fd_ = Descriptor(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    EXPECT_EQ(0, bind(fd_.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at));
    EXPECT_EQ(0, getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&at), &size));
    port_ = ntohs(at.sin_port);
    loop_.add(fd_.get(), EPOLLIN, [this](std::uint32_t) { answer(); });
  }
  ~NameServer() { loop_.remove(fd_.get()); }
  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  std::map<std::string, std::vector<IpAddress>> names;
  std::map<std::string, std::string> texts;
  std::uint32_t ttl = 60;
  int questions = 0;

 private:
  void answer() {
    std::array<std::uint8_t, 512> query{};
    sockaddr_in from{};
    socklen_t from_size = sizeof from;
    const ssize_t size =
        recvfrom(fd_.get(), query.data(), query.size(), 0, reinterpret_cast<sockaddr*>(&from), &from_size);
    if (size < 12) return;
    ++questions;
    std::string name;
    std::size_t at = 12;
    while (query[at] != 0) {
      name += (name.empty() ? "" : ".") + std::string(reinterpret_cast<const char*>(&query[at + 1]), query[at]);
      at += query[at] + 1U;
    }
    const std::uint16_t type = load_u16(&query[at + 1]);
    if (name == "silent.test") return;
    Bytes reply(query.begin(), query.begin() + static_cast<std::ptrdiff_t>(at + 5));
    store_u16(reply.data() + 2, names.contains(name) || texts.contains(name) ? 0x8180 : 0x8183);
    store_u16(reply.data() + 10, 0);
    std::uint16_t count = 0;
    for (const IpAddress& address : names[name]) {
      if ((type == 1) != address.is_v4()) continue;
      std::array<std::uint8_t, 12> record{0xc0, 0x0c};
      store_u16(record.data() + 2, type);
      store_u16(record.data() + 4, 1);
      store_u32(record.data() + 6, ttl);
      store_u16(record.data() + 10, static_cast<std::uint16_t>(address.bytes().size()));
      reply.insert(reply.end(), record.begin(), record.end());
      reply.insert(reply.end(), address.bytes().begin(), address.bytes().end());
      ++count;
    }
    if (type == 16 && texts.contains(name)) {
      const std::string& text = texts[name];
      const auto length = static_cast<std::uint8_t>(text.size());
      const std::array<std::uint8_t, 13> record{
          0xc0, 0x0c, 0, 16, 0, 1, 0, 0, 0, 9, 0, static_cast<std::uint8_t>(length + 1), length};
      reply.insert(reply.end(), record.begin(), record.end());
      reply.insert(reply.end(), text.begin(), text.end());
      ++count;
    }
    store_u16(reply.data() + 6, count);
    if (names[name].empty()) names.erase(name);
    sendto(fd_.get(), reply.data(), reply.size(), 0, reinterpret_cast<const sockaddr*>(&from), from_size);
  }

  EventLoop& loop_;
  Descriptor fd_;
  std::uint16_t port_ = 0;
};

class ResolverTest : public testing::Test {
 protected:
  Result ask(const std::string& name) {
    std::optional<Result> result;
    resolver_.resolve(name, [&](Result answer) { result = std::move(answer); });
    const Instant end = monotonic_now() + seconds(20);
    while (!result && monotonic_now() < end) loop_.run_turn(milliseconds(100));
    EXPECT_TRUE(result);
    return result.value_or(std::unexpected(DnsFailure::Failed));
  }
  EventLoop loop_;
  NameServer server_{loop_};
  Resolver resolver_{loop_, {{server_.address()}}};
};

TEST_F(ResolverTest, GivesTheAddressesOfBothFamilies) {
  server_.names["web.test"] = {*IpAddress::parse("192.0.2.1"), *IpAddress::parse("2001:db8::1")};
  const auto result = ask("web.test");
  ASSERT_TRUE(result);
  EXPECT_EQ(2U, result->size());
  EXPECT_NE(result->end(), std::find(result->begin(), result->end(), *IpAddress::parse("2001:db8::1")));
}

TEST_F(ResolverTest, TellsAnUnknownNameFromAServerThatDoesNotAnswer) {
  EXPECT_EQ(DnsFailure::NameNotFound, ask("nobody.test").error());
  EXPECT_EQ(DnsFailure::Failed, ask("silent.test").error());
}

TEST_F(ResolverTest, AnAddressIsItsOwnAnswer) {
  EXPECT_EQ(std::vector{*IpAddress::parse("192.0.2.9")}, ask("192.0.2.9").value());
  EXPECT_EQ(0, server_.questions);
}

TEST_F(ResolverTest, AnswersAreKeptForTheirTtlOnly) {
  server_.names["web.test"] = {*IpAddress::parse("192.0.2.1")};
  ASSERT_TRUE(ask("web.test"));
  const int asked = server_.questions;
  ASSERT_TRUE(ask("web.test"));
  EXPECT_EQ(asked, server_.questions);
  server_.ttl = 0;
  server_.names["moving.test"] = {*IpAddress::parse("192.0.2.1")};
  ASSERT_TRUE(ask("moving.test"));
  server_.names["moving.test"] = {*IpAddress::parse("192.0.2.2")};
  EXPECT_EQ(std::vector{*IpAddress::parse("192.0.2.2")}, ask("moving.test").value());
}

TEST_F(ResolverTest, TheSameNameAskedTwiceAtOnceIsOneQuestion) {
  server_.names["web.test"] = {*IpAddress::parse("192.0.2.1")};
  int answers = 0;
  for (int i = 0; i < 10; ++i) resolver_.resolve("web.test", [&](const Result& result) { answers += result ? 1 : 0; });
  const Instant end = monotonic_now() + seconds(10);
  while (answers < 10 && monotonic_now() < end) loop_.run_turn(milliseconds(100));
  EXPECT_EQ(10, answers);
  EXPECT_EQ(2, server_.questions) << "A and AAAA";
}

TEST_F(ResolverTest, AtItsBoundAQuestionFailsAtOnce) {
  int failed = 0;
  for (std::size_t i = 0; i < Resolver::kQuestionsMax + 5; ++i) {
    resolver_.resolve("n" + std::to_string(i) + ".test",
                      [&](const Result& result) { failed += !result && result.error() == DnsFailure::Failed ? 1 : 0; });
  }
  EXPECT_EQ(5, failed);
}

TEST_F(ResolverTest, GivesAServersMessageAboutOtherRecordsAsItCame) {
  server_.texts["web.test"] = "hello";
  const auto ask_text = [&](const std::string& name) {
    std::optional<std::expected<Bytes, DnsFailure>> result;
    resolver_.query(name, 16, [&](auto message) { result = std::move(message); });
    const Instant end = monotonic_now() + seconds(20);
    while (!result && monotonic_now() < end) loop_.run_turn(milliseconds(100));
    return result.value_or(Bytes());
  };
  const auto text = ask_text("web.test");
  ASSERT_TRUE(text);
  EXPECT_TRUE(as_text(*text).ends_with(std::string(1, 5) + "hello"));
  const auto unknown = ask_text("nobody.test");
  ASSERT_TRUE(unknown);
  EXPECT_EQ(3, unknown->at(3) & 0x0F) << "NXDOMAIN is an answer";
  const auto silent = ask_text("silent.test");
  ASSERT_FALSE(silent);
  EXPECT_EQ(DnsFailure::Failed, silent.error());
}

TEST_F(ResolverTest, QuestionsForRecordsCountTowardsTheSameBoundAndEndWithTheResolver) {
  int answers = 0;
  {
    Resolver other(loop_, {{server_.address()}});
    for (std::size_t i = 0; i < Resolver::kQuestionsMax + 5; ++i) {
      other.query("silent.test", 16, [&](const auto& message) {
        EXPECT_FALSE(message);
        ++answers;
      });
    }
    EXPECT_EQ(5, answers) << "those beyond the bound";
  }
  EXPECT_EQ(5, answers);
}

TEST_F(ResolverTest, HandlersAreNotCalledAfterTheResolverIsGone) {
  bool called = false;
  {
    Resolver other(loop_, {{server_.address()}});
    other.resolve("silent.test", [&](const Result&) { called = true; });
  }
  loop_.run_turn(milliseconds(1));
  EXPECT_FALSE(called);
}

TEST(Resolver, ReadsTheHostsFile) {
  EventLoop loop;
  Resolver resolver(loop, {});
  std::optional<Result> result;
  resolver.resolve("localhost", [&](Result answer) { result = std::move(answer); });
  const Instant end = monotonic_now() + seconds(10);
  while (!result && monotonic_now() < end) loop.run_turn(milliseconds(100));
  ASSERT_TRUE(result && *result);
  EXPECT_NE((*result)->end(), std::find((*result)->begin(), (*result)->end(), *IpAddress::parse("127.0.0.1")));
}

}  // namespace
}  // namespace postern::runtime
