#include "base/json.hpp"

#include <gtest/gtest.h>

#include "base/random.hpp"

namespace postern::json {
namespace {

Error error_of(std::string_view text, Limits limits = {}) {
  const auto value = parse(text, limits);
  EXPECT_FALSE(value) << text;
  return value ? Error::Syntax : value.error();
}

TEST(Json, ReadsEveryKindOfValue) {
  const auto value = parse(R"( {"a":[1,-2,0.5,1e2],"b":"x\n\u00e4\ud83d\ude00","c":true,"d":false,"e":null,"f":{}} )");
  ASSERT_TRUE(value);
  const Array& items = *value->find("a")->as_array();
  EXPECT_EQ(items[0].as_integer(), 1);
  EXPECT_EQ(items[1].as_integer(), -2);
  EXPECT_EQ(items[2], Value(0.5));
  EXPECT_EQ(items[3], Value(100.0));
  EXPECT_EQ(items[3].as_integer(), std::nullopt);
  EXPECT_EQ(items[1].as_number(), -2.0);
  EXPECT_EQ(items[3].as_number(), 100.0);
  EXPECT_EQ(value->find("c")->as_number(), std::nullopt);
  EXPECT_EQ(*value->find("b")->as_string(), "x\n\xc3\xa4\xf0\x9f\x98\x80");
  EXPECT_EQ(value->find("c")->as_bool(), true);
  EXPECT_EQ(value->find("d")->as_bool(), false);
  EXPECT_TRUE(value->find("e")->is_null());
  EXPECT_TRUE(value->find("f")->as_object()->empty());
  EXPECT_EQ(value->find("g"), nullptr);
}

TEST(Json, IntegersAreExactToTheirBoundsAndRefusedBeyond) {
  EXPECT_EQ(parse("9223372036854775807")->as_integer(), INT64_MAX);
  EXPECT_EQ(parse("-9223372036854775808")->as_integer(), INT64_MIN);
  EXPECT_EQ(parse("9223372036854775808")->as_integer(), std::nullopt);
  EXPECT_EQ(parse("18446744073709551615")->as_unsigned(), UINT64_MAX);
  EXPECT_EQ(parse("-1")->as_unsigned(), std::nullopt);
  EXPECT_EQ(error_of("18446744073709551616"), Error::BadNumber);
  EXPECT_EQ(error_of("-9223372036854775809"), Error::BadNumber);
  EXPECT_EQ(error_of("1e999"), Error::BadNumber);
}

TEST(Json, RefusesWhatIsNotInTheGrammar) {
  for (const std::string_view text : {"",           " ",       "{",         "[",           "[1,]",
                                      "{\"a\":1,}", "{a:1}",   "{\"a\" 1}", "[1 2]",       "'a'",
                                      "\"a",        "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\x01\"",
                                      "+1",         "-",       ".5",        "1.",          "1e",
                                      "tru",        "nul",     "NaN",       "Infinity",    "\xef\xbb\xbf{}",
                                      "//c\n1",     "\"\\"}) {
    EXPECT_EQ(error_of(text), Error::Syntax) << text;
  }
  for (const std::string_view text : {"1 2", "01", "0x1", "{}x", "nulll", "\"a\"\"b\"", "[]]"}) {
    EXPECT_EQ(error_of(text), Error::TrailingBytes) << text;
  }
}

TEST(Json, RefusesDuplicateKeysAlsoWhenEscapedDifferently) {
  EXPECT_EQ(error_of(R"({"a":1,"b":2,"a":3})"), Error::DuplicateKey);
  EXPECT_EQ(error_of(R"({"a":1,"\u0061":3})"), Error::DuplicateKey);
  EXPECT_TRUE(parse(R"({"a":{"a":1}})"));
}

TEST(Json, RefusesBadUtf8) {
  for (const std::string_view bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80",
                                     "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xe2\x82"}) {
    EXPECT_EQ(error_of("\"" + std::string(bad) + "\""), Error::BadUtf8) << bad;
    EXPECT_EQ(error_of("{\"" + std::string(bad) + "\":1}"), Error::BadUtf8) << bad;
  }
  for (const std::string_view bad : {R"("\ud800")", R"("\udc00")", R"("\ud800\u0041")", R"("\ud800x")"}) {
    EXPECT_EQ(error_of(bad), Error::BadUtf8) << bad;
  }
}

TEST(Json, DepthAndSizeAreBounded) {
  EXPECT_TRUE(parse(std::string(16, '[') + std::string(16, ']')));
  EXPECT_EQ(error_of(std::string(17, '[') + std::string(17, ']')), Error::TooDeep);
  EXPECT_EQ(error_of(std::string(60'000, '[')), Error::TooDeep);
  EXPECT_EQ(error_of("[1,2,3]", {.bytes = 6}), Error::TooLarge);
  EXPECT_TRUE(parse("[1,2,3]", {.bytes = 7}));
}

TEST(Json, ManySiblingsAreNoDepth) {
  std::string text = "[";
  for (int i = 0; i < 1000; ++i) text += "[],";
  EXPECT_TRUE(parse(text + "{}]"));
}

TEST(Json, WritesCompactTextThatReadsBackEqual) {
  const Value value = Object{{"a", Array{1, -5, UINT64_MAX, 0.25, 3.0}},
                             {"text", "quote \" back \\ line \n bell \x07 \xc3\xa4"},
                             {"flag", true},
                             {"none", Value{}},
                             {"inner", Object{{"x", Array{}}}}};
  EXPECT_EQ(write(value),
            R"({"a":[1,-5,18446744073709551615,0.25,3.0],"text":"quote \" back \\ line \u000a bell \u0007 ä",)"
            R"("flag":true,"none":null,"inner":{"x":[]}})");
  EXPECT_EQ(*parse(write(value)), value);
}

TEST(Json, WritesBadUtf8AsReplacementCharacters) {
  EXPECT_EQ(write(Value("a\xff")), "\"a\xef\xbf\xbd\"");
  EXPECT_EQ(write(Value(std::numeric_limits<double>::infinity())), "null");
}

TEST(Json, SurvivesGarbageAndReadsBackWhatItAccepted) {
  SeededRandom random(77);
  constexpr std::string_view kAlphabet = "{}[]\",:0123456789.eE+-\\untrfalsd \x80\xc3\xa4\x01";
  int accepted = 0;
  for (int i = 0; i < 200'000; ++i) {
    std::string text;
    const std::size_t size = random.below(24);
    for (std::size_t j = 0; j < size; ++j) text.push_back(kAlphabet[random.below(kAlphabet.size())]);
    const auto value = parse(text);
    if (!value) continue;
    ++accepted;
    EXPECT_EQ(*parse(write(*value)), *value) << text;
  }
  EXPECT_GT(accepted, 1000);
}

TEST(Json, SurvivesMutationsOfAToken) {
  SeededRandom random(78);
  const std::string good =
      R"({"iss":"home","aud":"rn:12","res":[[1,1780000000],[2,1780000000]],"cnf":{"spki#S256":"x"},"pv":7,"f":1.5e3})";
  for (int i = 0; i < 200'000; ++i) {
    std::string text = good;
    for (std::uint64_t edits = random.below(3) + 1; edits > 0; --edits) {
      text[random.below(text.size())] = static_cast<char>(random.next());
    }
    if (const auto value = parse(text)) {
      ASSERT_EQ(*parse(write(*value)), *value) << text;
    }
  }
}

}  // namespace
}  // namespace postern::json
