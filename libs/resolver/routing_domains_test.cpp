#include "resolver/routing_domains.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace postern::resolver {
namespace {

using testing::ElementsAre;

std::vector<model::DnsName> names(std::initializer_list<const char*> texts) {
  std::vector<model::DnsName> all;
  for (const char* text : texts) all.push_back(*model::DnsName::parse(text));
  return all;
}

std::vector<model::DnsPattern> patterns(std::initializer_list<const char*> texts) {
  std::vector<model::DnsPattern> all;
  for (const char* text : texts) all.push_back(*model::DnsPattern::parse(text));
  return all;
}

TEST(RoutingDomains, EveryNameIsADomainOfItsOwn) {
  const auto found = routing_domains(names({"web.home.lan", "db.home.lan", "nas"}), {});
  EXPECT_THAT(found.domains, ElementsAre("db.home.lan", "nas", "web.home.lan"));
  EXPECT_FALSE(found.is_widened);
  EXPECT_EQ(found.left_out, 0U);
}

TEST(RoutingDomains, APatternIsTheLabelsBehindItsLastWildcard) {
  const auto found = routing_domains({}, patterns({"*.corp.int", "web-?.a.example", "x.*.b.example"}));
  EXPECT_THAT(found.domains, ElementsAre("a.example", "b.example", "corp.int"));
}

TEST(RoutingDomains, APatternWithoutLiteralEndTakesAllNames) {
  EXPECT_THAT(routing_domains(names({"web.home.lan"}), patterns({"nas*"})).domains, ElementsAre("."));
}

TEST(RoutingDomains, NothingIsListedBelowADomainThatIsThere) {
  const auto found = routing_domains(names({"web.home.lan", "home.land", "a.b.home.lan"}), patterns({"*.home.lan"}));
  EXPECT_THAT(found.domains, ElementsAre("home.lan", "home.land"));
}

TEST(RoutingDomains, AtTheBoundTheLongestNamesBecomeTheirParents) {
  const auto found = routing_domains(names({"a.x.home.lan", "b.x.home.lan", "web.corp.int", "nas"}), {}, 3);
  EXPECT_THAT(found.domains, ElementsAre("nas", "web.corp.int", "x.home.lan"));
  EXPECT_TRUE(found.is_widened);
  EXPECT_EQ(found.left_out, 0U);
}

TEST(RoutingDomains, ATopLevelDomainIsNeverTakenAndWhatDoesNotFitIsCounted) {
  const auto found = routing_domains(names({"a.one", "b.two", "c.three"}), {}, 2);
  EXPECT_THAT(found.domains, ElementsAre("a.one", "b.two"));
  EXPECT_EQ(found.left_out, 1U);
}

}  // namespace
}  // namespace postern::resolver
