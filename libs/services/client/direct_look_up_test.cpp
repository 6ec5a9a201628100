#include "services/client/direct_look_up.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace postern::client {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(HostsFile, GivesTheAddressesOfANameInItsOrder) {
  const std::string_view text =
      "127.0.0.1 localhost\n"
      "# 192.0.2.9 postern.example.org\n"
      "203.0.113.10\tother.example.org Postern.Example.org # the server\n"
      "2001:db8::10 postern.example.org\n"
      "nonsense postern.example.org\n"
      "192.0.2.1";
  EXPECT_THAT(addresses_in_hosts(text, "postern.example.org"), ElementsAre("203.0.113.10", "2001:db8::10"));
  EXPECT_THAT(addresses_in_hosts(text, "postern.example"), IsEmpty());
  EXPECT_THAT(addresses_in_hosts("", "localhost"), IsEmpty());
}

}  // namespace
}  // namespace postern::client
