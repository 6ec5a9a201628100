// Sessions come to be only between the right keys, with a valid knock.
#include <gtest/gtest.h>

#include "session/pair_test_util.hpp"

namespace postern::session {
namespace {

using namespace std::chrono_literals;
using test::Pair;
using test::PairOptions;

TEST(Handshake, ProvesBothKeysAndEchoesBytes) {
  Pair pair;
  test::echo(pair.connector);
  test::Sink sink;
  sink.attach(pair.client);
  pair.establish();
  ASSERT_EQ(pair.client.count<Established>(), 1U);
  ASSERT_EQ(pair.connector.count<Established>(), 1U);
  EXPECT_EQ(pair.client.find<Established>()->peer, pair.connector_digest);
  EXPECT_EQ(pair.connector.find<Established>()->peer, pair.client_digest);

  const auto stream = pair.client.endpoint.open_stream(pair.session);
  ASSERT_TRUE(stream.has_value());
  EXPECT_EQ(*stream, kControlStream);
  ASSERT_TRUE(pair.client.endpoint.write(pair.session, *stream, pair.client.slice("hello")).has_value());
  ASSERT_TRUE(pair.client.endpoint.finish(pair.session, *stream).has_value());
  EXPECT_TRUE(pair.run_until([&] { return sink.finished[*stream]; }));
  EXPECT_EQ(as_text(sink.received[*stream]), "hello");
  EXPECT_TRUE(pair.run_until([&] {
    return pair.client.count<StreamClosed>() == 1 && pair.connector.count<StreamClosed>() == 1;
  }));
}

}  // namespace
}  // namespace postern::session
