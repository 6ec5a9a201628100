#include "graphql/text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "graphql/lexer.hpp"

namespace postern::graphql {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string read_back(const std::string& text) {
  auto token = Lexer(text).next();
  return token ? token->text : "not a string: " + text;
}

TEST(Text, WritesStringsThatReadBackAsTheyWere) {
  for (const char* text : {"", "a", "\"", "\\", "a\nb", "\t", "\x01\x1f\x7f", "\xC3\xA4 \xF0\x9F\x98\x80"}) {
    EXPECT_EQ(read_back(print_string(text)), text);
  }
}

TEST(Text, WritesBlockStringsThatReadBackAsTheyWere) {
  for (const char* text : {"", "a", "a\nb", "a\n  b\n\nc", "ends with \"", "ends with \\", "has \"\"\" in it",
                           "  indented", "\nfirst is blank", "last is blank\n", "a\rb", "a\x01", "tab\tin it"}) {
    EXPECT_EQ(read_back(print_block_string(text)), text);
    EXPECT_EQ(read_back(print_block_string(text, "    ")), text);
  }
}

TEST(Text, CutsJsonForMessages) {
  EXPECT_EQ(inspect(*json::parse(R"({"a":[1,2.0,"x",null,true],"b":{}})")), "{ a: [1, 2, \"x\", null, true], b: {} }");
  EXPECT_EQ(inspect(*json::parse("[1,2,3,4,5,6,7,8,9,10,11]")), "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ... 1 more item]");
  EXPECT_EQ(inspect(*json::parse(R"([[[[1]]],{"a":{"b":{"c":1}}}])")), "[[[Array]], { a: [Object] }]");
}

TEST(Text, SuggestsNamesThatAreFewTypingErrorsAway) {
  EXPECT_THAT(suggestions("naem", {"name", "nickname", "id"}), ElementsAre("name"));
  EXPECT_THAT(suggestions("NAME", {"name"}), ElementsAre("name"));
  EXPECT_THAT(suggestions("abc", {"a", "ab", "abc"}), ElementsAre("abc", "ab", "a"));
  EXPECT_THAT(suggestions("xyz", {"name"}), IsEmpty());
  EXPECT_THAT(suggestions("a", {"a2", "a10", "a1"}), ElementsAre("a1", "a2"));
}

TEST(Text, AsksWhatWasMeant) {
  EXPECT_EQ(did_you_mean({}), "");
  EXPECT_EQ(did_you_mean({"A"}), " Did you mean \"A\"?");
  EXPECT_EQ(did_you_mean({"A", "B"}, "the letter"), " Did you mean the letter \"A\" or \"B\"?");
  EXPECT_EQ(did_you_mean({"A", "B", "C", "D", "E", "F"}), " Did you mean \"A\", \"B\", \"C\", \"D\", or \"E\"?");
}

TEST(Text, ComparesNumbersInNamesAsNumbers) {
  EXPECT_TRUE(is_naturally_less("a2", "a10"));
  EXPECT_TRUE(is_naturally_less("a", "a1"));
  EXPECT_FALSE(is_naturally_less("b1", "a2"));
  EXPECT_FALSE(is_naturally_less("a", "a"));
}

}  // namespace
}  // namespace postern::graphql
