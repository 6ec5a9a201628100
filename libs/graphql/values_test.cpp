#include "graphql/values.hpp"

#include "graphql/graphql_test_util.hpp"

namespace postern::graphql {
namespace {

using ::testing::ElementsAre;

constexpr std::string_view kSchema = R"(
  type Query { q: Int }
  input In { a: Int! b: [String] = ["x"] c: In d: Color }
  enum Color { RED GREEN }
  scalar Any
)";

Schema schema_with(std::string_view extension) {
  std::string text(kSchema);
  text += extension;
  return make_schema(text);
}

/// The variables of an operation, as JSON, or what is wrong with them.
std::vector<std::string> coerced(std::string_view definitions, std::string_view given) {
  static const Schema schema = schema_with("extend type Query { f: Float i: ID }");
  const Document document = make_document("query (" + std::string(definitions) + ") { q }");
  const auto json = json::parse(given);
  auto values = coerce_variables(schema, std::get<Operation>(document.definitions.at(0)), *json->as_object());
  return values ? std::vector{json::write(*values)} : messages_of(values.error());
}

TEST(Variables, AreCoercedToTheirTypes) {
  EXPECT_THAT(coerced("$a: Int, $b: Float, $c: ID, $d: [Int!]", R"({"a":1.0,"b":2,"c":3,"d":4})"),
              ElementsAre(R"({"a":1,"b":2,"c":"3","d":[4]})"));
  EXPECT_THAT(coerced("$a: In", R"({"a":{"a":1,"c":{"a":2,"b":null,"d":"RED"}}})"),
              ElementsAre(R"({"a":{"a":1,"b":["x"],"c":{"a":2,"b":null,"d":"RED"}}})"));
  EXPECT_THAT(coerced("$a: [[Int]]", R"({"a":[[1],2,null]})"), ElementsAre(R"({"a":[[1],[2],null]})"));
  EXPECT_THAT(coerced("$a: Any", R"({"a":{"x":[1,"y"]}})"), ElementsAre(R"({"a":{"x":[1,"y"]}})"));
}

TEST(Variables, AreAbsentNullOrDefault) {
  EXPECT_THAT(coerced("$a: Int, $b: Int = 2, $c: Int = 3", R"({"c":null})"), ElementsAre(R"({"b":2,"c":null})"));
  EXPECT_THAT(coerced("$a: Int! = 1", "{}"), ElementsAre(R"({"a":1})"));
  EXPECT_THAT(coerced("$a: Int!", "{}"), ElementsAre("Variable \"$a\" of required type \"Int!\" was not provided."));
  EXPECT_THAT(coerced("$a: Int!", R"({"a":null})"),
              ElementsAre("Variable \"$a\" of non-null type \"Int!\" must not be null."));
}

TEST(Variables, TellWhatIsWrongAndWhereInThem) {
  EXPECT_THAT(coerced("$a: Int", R"({"a":"1"})"),
              ElementsAre("Variable \"$a\" got invalid value \"1\"; Int cannot represent non-integer value: \"1\""));
  EXPECT_THAT(coerced("$a: Int", R"({"a":2147483648})"),
              ElementsAre("Variable \"$a\" got invalid value 2147483648; "
                          "Int cannot represent non 32-bit signed integer value: 2147483648"));
  EXPECT_THAT(coerced("$a: [In!]", R"({"a":[{"a":1,"c":{"b":[1],"x":2}},null]})"),
              ElementsAre("Variable \"$a\" got invalid value { b: [1], x: 2 } at \"a[0].c\"; "
                          "Field \"a\" of required type \"Int!\" was not provided.",
                          "Variable \"$a\" got invalid value 1 at \"a[0].c.b[0]\"; "
                          "String cannot represent a non string value: 1",
                          "Variable \"$a\" got invalid value { b: [1], x: 2 } at \"a[0].c\"; "
                          "Field \"x\" is not defined by type \"In\". Did you mean \"a\", \"b\", \"c\", or \"d\"?",
                          "Variable \"$a\" got invalid value null at \"a[1]\"; "
                          "Expected non-nullable type \"In!\" not to be null."));
  EXPECT_THAT(
      coerced("$a: Color", R"({"a":"REDD"})"),
      ElementsAre("Variable \"$a\" got invalid value \"REDD\"; Value \"REDD\" does not exist in \"Color\" enum. "
                  "Did you mean the enum value \"RED\"?"));
  EXPECT_THAT(coerced("$a: Query", R"({"a":1})"),
              ElementsAre("Variable \"$a\" expected value of type \"Query\" which cannot be used as an input type."));
}

TEST(Variables, HaveAtMostFiftyErrors) {
  std::string values = "{\"a\":[";
  for (int i = 0; i < 100; ++i) values += std::string(i > 0 ? "," : "") + "\"x\"";
  const auto errors = coerced("$a: [Int]", values + "]}");
  EXPECT_EQ(errors.size(), 51U);
  EXPECT_EQ(errors.back(), "Too many errors processing variables, error limit reached. Execution aborted.");
}

TEST(Literals, AreCoercedWithTheVariablesInThem) {
  const Schema schema = schema_with("extend type Query { a(x: In y: Any): Int }");
  const auto coerce = [&](std::string_view literal, std::string_view type) {
    const Document document = make_document("{ q(x: " + std::string(literal) + ") }");
    const auto& operation = std::get<Operation>(document.definitions.at(0));
    const json::Object variables{{"v", 5}, {"n", json::Value()}};
    const TypeView view{schema.find(type), {}};
    const auto value =
        coerce_literal(std::get<Field>(operation.selections.at(0).node).arguments.at(0).value, view, &variables);
    return value ? json::write(*value) : "nothing";
  };
  EXPECT_EQ(coerce("{a: $v, b: [$none, null]}", "In"), R"({"a":5,"b":[null,null]})");
  EXPECT_EQ(coerce("{a: $n}", "In"), "nothing");
  EXPECT_EQ(coerce("{a: $none}", "In"), "nothing");
  EXPECT_EQ(coerce("{a: 1, b: $none}", "In"), R"({"a":1,"b":["x"]})");
  EXPECT_EQ(coerce("{a: [1, 2.5, RED, \"s\", $v]}", "Any"), R"({"a":[1,2.5,"RED","s",5]})");
}

}  // namespace
}  // namespace postern::graphql
