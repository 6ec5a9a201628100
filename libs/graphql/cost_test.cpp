#include "graphql/cost.hpp"

#include "graphql/graphql_test_util.hpp"

namespace postern::graphql {
namespace {

constexpr std::string_view kSchema = R"(
  type Query { users(first: Int, last: Int): Users tags: [Tag] me: User }
  type Users { edges: [Edge] total: Int }
  type Edge { node: User }
  type User { name: String tags: [Tag] friends(first: Int): Users }
  type Tag { name: String }
)";

Cost cost_of(std::string_view query, const json::Object& variables = {}) {
  const Schema schema = make_schema(kSchema);
  const Document document = make_document(query);
  EXPECT_TRUE(validate(schema, document).empty()) << query;
  return estimate_cost(schema, document, std::get<Operation>(document.definitions.at(0)), variables, 10);
}

TEST(Cost, CountsFieldsAsOftenAsTheyMayCome) {
  EXPECT_EQ(cost_of("{ me { name } }").fields, 2U);
  EXPECT_EQ(cost_of("{ tags { name } }").fields, 1 + 10U);
  EXPECT_EQ(cost_of("{ users(first: 50) { edges { node { name } } total } }").fields, 1 + 50 * 4U);
  EXPECT_EQ(cost_of("{ users { edges { node { name } } } }").fields, 1 + 1 + 10 * 2U);
  EXPECT_EQ(cost_of("{ users(last: 2) { edges { node { tags { name } } } } }").fields, 1 + 2 * (1 + 1 + 1 + 10U));
  EXPECT_EQ(cost_of("query ($n: Int) { users(first: $n) { total } }", {{"n", 7}}).fields, 8U);
  EXPECT_EQ(cost_of("{ me { ...F } } fragment F on User { name tags { name } }").fields, 1 + 1 + 1 + 10U);
}

TEST(Cost, KnowsTheDepth) {
  EXPECT_EQ(cost_of("{ users { total } me { friends { edges { ...F } } } } fragment F on Edge { node { name } }").depth,
            5U);
}

TEST(Cost, DoesNotOverflowOrTakeLong) {
  std::string text = "{ me { ...F0 } }";
  for (int i = 0; i < 60; ++i) {
    const std::string next = "friends(first: 2000000000) { edges { node { ...F" + std::to_string(i + 1) + " } } }";
    text += " fragment F" + std::to_string(i) + " on User { a: " + next + " b: " + next + " }";
  }
  EXPECT_EQ(cost_of(text + " fragment F60 on User { name }").fields, 1'000'000'000'000U);
}

TEST(Cost, IsBoundedBeforeAnythingIsExecuted) {
  const Schema schema = make_schema(kSchema);
  const auto refusal = [&](const CostLimits& limits) {
    const Response response = execute(schema, make_document("{ users(first: 50) { edges { node { name } } } }"), "", {},
                                      {}, {.cost = limits});
    EXPECT_FALSE(response.data);
    return response.errors.at(0).message;
  };
  EXPECT_EQ(
      refusal({.cost_max = 100}),
      "The operation is too expensive: it may answer with 151 fields, more than 100; ask for less in one request.");
  EXPECT_EQ(refusal({.depth_max = 3}), "The operation is nested deeper than 3; ask for less in one request.");
}

}  // namespace
}  // namespace postern::graphql
