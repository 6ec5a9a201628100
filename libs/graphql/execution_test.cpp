#include "graphql/execution.hpp"

#include "graphql/graphql_test_util.hpp"

namespace postern::graphql {
namespace {

using ::testing::HasSubstr;

/// Without resolvers, data is what the root's JSON says.
TEST(Execution, LaysOutFragmentsAndMergesSelections) {
  const Schema schema = make_schema(kPetSchema);
  EXPECT_EQ(run(schema,
                "{ dog { name ...F } d2: dog { ... { barks } } dog { owner { id } } } "
                "fragment F on Dog { nickname owner { name } }",
                "{}", R"({"dog":{"name":"a","nickname":"b","barks":true,"owner":{"id":7,"name":"c"}}})"),
            R"({"data":{"dog":{"name":"a","nickname":"b","owner":{"name":"c","id":"7"}},"d2":{"barks":true}}})");
}

TEST(Execution, ObeysSkipAndInclude) {
  const Schema schema = make_schema(kPetSchema);
  constexpr std::string_view kQuery =
      "query ($x: Boolean = true) { numbers @skip(if: $x) strict @include(if: $x) "
      "... @include(if: false) { dog { name } } ...F @skip(if: true) } "
      "fragment F on Query { cat { name } }";
  constexpr std::string_view kData = R"({"numbers":[1],"strict":[2]})";
  EXPECT_EQ(run(schema, kQuery, "{}", kData), R"({"data":{"strict":[2]}})");
  EXPECT_EQ(run(schema, kQuery, R"({"x":false})", kData), R"({"data":{"numbers":[1]}})");
  EXPECT_EQ(run(schema, kQuery, R"({"x":null})", kData),
            R"({"errors":[{"message":"Argument \"if\" of non-null type \"Boolean!\" must not be null.",)"
            R"("locations":[{"line":1,"column":48}]}],"data":null})");
}

TEST(Execution, ChoosesTheTypeOfAbstractValuesByTheirName) {
  const Schema schema = make_schema(kPetSchema);
  constexpr std::string_view kQuery = "{ pet { __typename name ... on Cat { meowVolume } ... on Dog { barkVolume } } }";
  EXPECT_EQ(run(schema, kQuery, "{}", R"({"pet":{"__typename":"Cat","name":"a","meowVolume":1,"barkVolume":2}})"),
            R"({"data":{"pet":{"__typename":"Cat","name":"a","meowVolume":1}}})");
  EXPECT_THAT(run(schema, kQuery, "{}", R"({"pet":{"__typename":"Human"}})"),
              HasSubstr(R"(Runtime Object type \"Human\" is not a possible type for \"Pet\".)"));
  EXPECT_THAT(run(schema, kQuery, "{}", R"({"pet":{}})"), HasSubstr("must resolve to an Object type at runtime"));
}

TEST(Execution, PropagatesNullToTheNearestNullableParent) {
  const Schema schema = make_schema(kPetSchema);
  EXPECT_EQ(
      run(schema, "{ numbers human { iq } }", "{}", R"({"numbers":[1,null,2],"human":{"iq":null}})"),
      R"({"errors":[{"message":"Cannot return null for non-nullable field Human.iq.",)"
      R"("locations":[{"line":1,"column":19}],"path":["human","iq"]}],"data":{"numbers":[1,null,2],"human":null}})");
  EXPECT_EQ(run(schema, "{ strict }", "{}", R"({"strict":[1,null]})"),
            R"({"errors":[{"message":"Cannot return null for non-nullable field Query.strict.",)"
            R"("locations":[{"line":1,"column":3}],"path":["strict",1]}],"data":{"strict":null}})");
  EXPECT_THAT(run(schema, "{ numbers }", "{}", R"({"numbers":[1,"x"]})"),
              HasSubstr(R"("path":["numbers",1]}],"data":{"numbers":[1,null]}})"));
  const Schema hard = make_schema("type Query { a: A! } type A { b: [Int!]! }");
  EXPECT_THAT(run(hard, "{ a { b } }", "{}", R"({"a":{"b":[null]}})"), HasSubstr(R"("data":null})"));
}

TEST(Execution, RefusesDataOfAnotherShape) {
  const Schema schema = make_schema(kPetSchema);
  EXPECT_THAT(run(schema, "{ numbers }", "{}", R"({"numbers":1})"),
              HasSubstr(R"(Expected Iterable, but did not find one for field \"Query.numbers\".)"));
  EXPECT_THAT(run(schema, "{ dog { name } }", "{}", R"({"dog":[]})"), HasSubstr("Expected an object"));
  EXPECT_THAT(run(schema, "{ arguments { command } }", "{}", R"({"arguments":{"command":"FLY"}})"),
              HasSubstr(R"(Enum \"Command\" cannot represent value: \"FLY\")"));
}

TEST(Execution, RefusesWhatCannotBeChosen) {
  const Schema schema = make_schema("type Query { a: Int }");
  const json::Object none;
  const auto refusal = [&](std::string_view query, std::string_view name) {
    const Response response = execute(schema, make_document(query), name, none, {});
    EXPECT_FALSE(response.data);
    return response.errors.at(0).message;
  };
  EXPECT_EQ(refusal("query A { a } query B { a }", ""),
            "Must provide operation name if query contains multiple operations.");
  EXPECT_EQ(refusal("query A { a }", "C"), "Unknown operation named \"C\".");
  EXPECT_EQ(refusal("fragment F on Query { a }", ""), "Must provide an operation.");
  EXPECT_EQ(refusal("mutation { a }", ""), "Schema is not configured to execute mutation operation.");
  EXPECT_EQ(refusal("query ($a: Int!) { a }", ""), "Variable \"$a\" of required type \"Int!\" was not provided.");
}

// --- resolvers -------------------------------------------------------------------------------------------------------

struct Counter {
  int value = 0;
};
struct Animal {
  std::string name;
};

ResolversFor<Counter> counter_resolvers() {
  ResolversFor<Counter> resolvers;
  resolvers.root("Query.value", [](Counter& counter, const Arguments&) { return Resolved(counter.value); });
  resolvers.root("Mutation.add", [](Counter& counter, const Arguments& arguments) {
    counter.value += static_cast<int>(arguments.integer("by").value_or(100));
    return counter.value > 1000 ? Resolved::failed("too much") : Resolved(counter.value);
  });
  resolvers.root("Query.given", [](Counter&, const Arguments& arguments) {
    const json::Value* value = arguments.find("x");
    return value == nullptr ? "absent" : value->is_null() ? "null" : "a value";
  });
  resolvers.root("Query.animals", [](Counter&, const Arguments&) {
    return std::vector<Resolved>{Resolved::owned(Animal{"Rex"}, "Dog"), Resolved::owned(Animal{"Tom"}, "Cat"),
                                 Resolved()};
  });
  resolvers.field<Animal>("Dog.name", [](Counter&, const Animal& animal, const Arguments&) { return animal.name; });
  resolvers.field<Counter>("Cat.name", [](Counter&, const Counter&, const Arguments&) { return "never"; });
  return resolvers;
}

constexpr std::string_view kCounterSchema = R"(
  type Query { value: Int given(x: Int): String animals: [Animal] }
  type Mutation { add(by: Int): Int! }
  interface Animal { name: String }
  type Dog implements Animal { name: String }
  type Cat implements Animal { name: String }
)";

TEST(Execution, CallsResolversWithTheirContextOneAfterTheOther) {
  const Schema schema = make_schema(kCounterSchema, counter_resolvers().untyped());
  Counter counter;
  EXPECT_EQ(run(schema, "mutation { a: add(by: 1) b: add(by: 10) c: add }", "{}", "{}", AnyRef::to(counter)),
            R"({"data":{"a":1,"b":11,"c":111}})");
  EXPECT_EQ(counter.value, 111);
  EXPECT_EQ(run(schema, "mutation { a: add(by: 1000) b: add(by: 1) }", "{}", "{}", AnyRef::to(counter)),
            R"({"errors":[{"message":"too much","locations":[{"line":1,"column":12}],"path":["a"]}],"data":null})");
  EXPECT_EQ(counter.value, 1111) << "what comes after a failed non-null field is not done";
}

TEST(Execution, TellsResolversNullFromAbsent) {
  const Schema schema = make_schema(kCounterSchema, counter_resolvers().untyped());
  Counter counter;
  const auto given = [&](std::string_view query, std::string_view variables) {
    return run(schema, query, variables, "{}", AnyRef::to(counter));
  };
  EXPECT_EQ(given("{ given }", "{}"), R"({"data":{"given":"absent"}})");
  EXPECT_EQ(given("{ given(x: null) }", "{}"), R"({"data":{"given":"null"}})");
  EXPECT_EQ(given("query ($x: Int) { given(x: $x) }", "{}"), R"({"data":{"given":"absent"}})");
  EXPECT_EQ(given("query ($x: Int) { given(x: $x) }", R"({"x":null})"), R"({"data":{"given":"null"}})");
  EXPECT_EQ(given("query ($x: Int) { given(x: $x) }", R"({"x":3})"), R"({"data":{"given":"a value"}})");
}

TEST(Execution, KeepsWhatItGotWhenAResolverMeetsAnObjectThatItDoesNotKnow) {
  const Schema schema = make_schema(kCounterSchema, counter_resolvers().untyped());
  Counter counter;
  EXPECT_EQ(run(schema, "{ animals { __typename name } }", "{}", "{}", AnyRef::to(counter)),
            R"({"errors":[{"message":"Field Cat.name was asked of an object that its resolver does not know.",)"
            R"("locations":[{"line":1,"column":24}],"path":["animals",1,"name"]}],)"
            R"("data":{"animals":[{"__typename":"Dog","name":"Rex"},{"__typename":"Cat","name":null},null]}})");
  EXPECT_THAT(run(schema, "{ value }"), HasSubstr("its resolver does not know"));
}

TEST(Execution, UsesTheCodecOfACustomScalarInBothDirections) {
  Resolvers resolvers;
  const auto upper = [](const json::Value& value) -> std::expected<json::Value, std::string> {
    if (value.as_string() == nullptr) return std::unexpected("not a text");
    return "<" + *value.as_string() + ">";
  };
  resolvers.add_scalar("Mark", {upper, upper});
  resolvers.add("Query.echo", [](const Call& call) { return Resolved(*call.arguments.find("x")); });
  const Schema schema = make_schema("type Query { echo(x: Mark): Mark } scalar Mark", resolvers);
  EXPECT_EQ(run(schema, "{ echo(x: \"a\") }"), R"({"data":{"echo":"<<a>>"}})");
  EXPECT_THAT(run(schema, "query ($x: Mark) { echo(x: $x) }", R"({"x":1})"),
              HasSubstr(R"(Variable \"$x\" got invalid value 1; Expected type \"Mark\". not a text)"));
  EXPECT_THAT(messages_of(validate(schema, make_document("{ echo(x: 1) }"))),
              ::testing::ElementsAre("Expected value of type \"Mark\", found 1; not a text"));
}

TEST(Execution, StopsWhenTheAnswerGrowsOverItsBound) {
  const Schema schema = make_schema("type Query { a: [Query!] b: Int }");
  const ExecutionLimits limits{.cost = {}, .result_fields_max = 3};
  const std::string answer = run(schema, "{ a { b } }", "{}", R"({"a":[{"b":1},{"b":2},{"b":3}]})", {}, limits);
  EXPECT_EQ(answer, R"({"errors":[{"message":"The answer is larger than it may be; ask for less in one request.",)"
                    R"("locations":[{"line":1,"column":7}],"path":["a",2,"b"]}],"data":null})");
}

}  // namespace
}  // namespace postern::graphql
