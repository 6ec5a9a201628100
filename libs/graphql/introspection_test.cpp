// Section 4. tests/api builds a client's schema of the whole answer and compares it with the text.
#include "graphql/graphql_test_util.hpp"

namespace postern::graphql {
namespace {

const Schema& pets() {
  static const Schema schema = make_schema(kPetSchema);
  return schema;
}

TEST(Introspection, DescribesObjectsFieldsAndArguments) {
  EXPECT_EQ(run(pets(), R"({ __type(name: "Human") { kind name interfaces { name } fields { name type { name kind
                             ofType { kind name ofType { kind name } } }
                             args { name type { name } defaultValue } } } })"),
            R"({"data":{"__type":{"kind":"OBJECT","name":"Human","interfaces":[{"name":"Node"},{"name":"Being"}],)"
            R"("fields":[)"
            R"({"name":"id","type":{"name":null,"kind":"NON_NULL","ofType":{"kind":"SCALAR","name":"ID",)"
            R"("ofType":null}},"args":[]},)"
            R"({"name":"name","type":{"name":"String","kind":"SCALAR","ofType":null},"args":[{"name":"surname",)"
            R"("type":{"name":"Boolean"},"defaultValue":null}]},)"
            R"({"name":"pets","type":{"name":null,"kind":"LIST","ofType":{"kind":"NON_NULL","name":null,)"
            R"("ofType":{"kind":"INTERFACE","name":"Pet"}}},)"
            R"("args":[{"name":"first","type":{"name":"Int"},"defaultValue":null},{"name":"after",)"
            R"("type":{"name":"String"},"defaultValue":null}]},)"
            R"({"name":"relatives","type":{"name":null,"kind":"LIST","ofType":{"kind":"OBJECT","name":"Human",)"
            R"("ofType":null}},"args":[]}]}}})");
}

TEST(Introspection, ShowsWhatIsDeprecatedOnlyWhenAsked) {
  EXPECT_EQ(run(pets(), R"({ h: __type(name: "Command") { enumValues { name } }
                             all: __type(name: "Command") {
                               enumValues(includeDeprecated: true) { name isDeprecated deprecationReason }
                             } })"),
            R"({"data":{"h":{"enumValues":[{"name":"SIT"},{"name":"HEEL"}]},"all":{"enumValues":[)"
            R"({"name":"SIT","isDeprecated":false,"deprecationReason":null},)"
            R"({"name":"HEEL","isDeprecated":false,"deprecationReason":null},)"
            R"({"name":"DOWN","isDeprecated":true,"deprecationReason":"No longer supported"}]}}})");
}

TEST(Introspection, IsNullWhereAKindHasNoSuchThing) {
  EXPECT_EQ(
      run(pets(), R"({ a: __type(name: "Int") { fields { name } interfaces { name } possibleTypes { name }
                             enumValues { name } inputFields { name } ofType { name } specifiedByURL }
                             none: __type(name: "Nothing") { name } date: __type(name: "Date") { specifiedByURL } })"),
      R"({"data":{"a":{"fields":null,"interfaces":null,"possibleTypes":null,"enumValues":null,"inputFields":null,)"
      R"("ofType":null,"specifiedByURL":null},"none":null,"date":{"specifiedByURL":"https://example.org/date"}}})");
}

TEST(Introspection, DescribesAbstractTypesAndInputs) {
  EXPECT_EQ(
      run(pets(), R"({ u: __type(name: "CatOrDog") { kind possibleTypes { name } }
                             i: __type(name: "Pet") { kind possibleTypes { name } interfaces { name } }
                             c: __type(name: "Complex") { kind inputFields { name defaultValue } } })"),
      R"({"data":{"u":{"kind":"UNION","possibleTypes":[{"name":"Cat"},{"name":"Dog"}]},)"
      R"("i":{"kind":"INTERFACE","possibleTypes":[{"name":"Dog"},{"name":"Cat"}],"interfaces":[{"name":"Being"}]},)"
      R"("c":{"kind":"INPUT_OBJECT","inputFields":[{"name":"required","defaultValue":null},)"
      R"({"name":"number","defaultValue":null},{"name":"list","defaultValue":null},{"name":"count",)"
      R"("defaultValue":"7"},)"
      R"({"name":"inner","defaultValue":null}]}}})");
}

TEST(Introspection, DescribesTheSchemaAndItsDirectives) {
  EXPECT_EQ(
      run(make_schema("\"text\" schema { query: Q } type Q { a: Int } directive @d(x: Int = 3) repeatable on FIELD"),
          "{ __schema { description queryType { name } mutationType { name } subscriptionType { name } "
          "directives { name isRepeatable locations args { name defaultValue } } } }"),
      R"({"data":{"__schema":{"description":"text","queryType":{"name":"Q"},"mutationType":null,)"
      R"("subscriptionType":null,)"
      R"("directives":[{"name":"d","isRepeatable":true,"locations":["FIELD"],"args":[{"name":"x",)"
      R"("defaultValue":"3"}]},)"
      R"({"name":"include","isRepeatable":false,"locations":["FIELD","FRAGMENT_SPREAD","INLINE_FRAGMENT"],)"
      R"("args":[{"name":"if","defaultValue":null}]},)"
      R"({"name":"skip","isRepeatable":false,"locations":["FIELD","FRAGMENT_SPREAD","INLINE_FRAGMENT"],"args":[)"
      R"({"name":"if","defaultValue":null}]},)"
      R"({"name":"deprecated","isRepeatable":false,"locations":["FIELD_DEFINITION","ARGUMENT_DEFINITION",)"
      R"("INPUT_FIELD_DEFINITION","ENUM_VALUE"],)"
      R"("args":[{"name":"reason","defaultValue":"\"No longer supported\""}]},)"
      R"({"name":"specifiedBy","isRepeatable":false,"locations":["SCALAR"],"args":[{"name":"url",)"
      R"("defaultValue":null}]}]}}})");
}

}  // namespace
}  // namespace postern::graphql
