// One test for each rule of section 5, named by it. tests/api compares thousands of documents with the reference.
#include "graphql/validation.hpp"

#include "graphql/graphql_test_util.hpp"

namespace postern::graphql {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

const Schema& pets() {
  static const Schema schema = make_schema(kPetSchema);
  return schema;
}

std::vector<std::string> problems(std::string_view text) {
  return messages_of(validate(pets(), make_document(text)));
}

std::string merged(const std::string& response_name, const std::string& reason) {
  return "Fields \"" + response_name + "\" conflict because " + reason +
         ". Use different aliases on the fields to fetch both if this was intentional.";
}

TEST(Validation, TakesADocumentThatUsesEverything) {
  EXPECT_THAT(problems(R"(
    query Q($id: ID = 3, $on: Boolean!, $c: Complex, $names: [String]) @tag(name: "x") {
      human(id: $id) { pets(first: 2) { name(surname: $on) ...Dogs } relatives { iq } }
      catOrDog { __typename ... on Dog { barkVolume } ... on Cat { meowVolume } }
      arguments { complex(arg: $c) many(req1: 1, req2: 2) list(arg: "one") other: list(arg: $names) any(arg: {a: [1]}) }
      pet { ... on Being { name } } __schema { types { name } } __type(name: "Dog") { kind }
    }
    fragment Dogs on Dog { at(x: 1) @onField @onField @skip(if: $on) }
  )"),
              IsEmpty());
}

TEST(Validation, Section511ExecutableDefinitions) {
  EXPECT_THAT(
      problems("{ numbers } type T { a: Int } extend schema @a directive @d on FIELD"),
      UnorderedElementsAre("The \"T\" definition is not executable.", "The schema definition is not executable.",
                           "The \"d\" definition is not executable."));
}

TEST(Validation, Section521OperationNames) {
  EXPECT_THAT(problems("query A { numbers } mutation A { rename { name } }"),
              ElementsAre("There can be only one operation named \"A\"."));
  EXPECT_THAT(problems("{ numbers } query A { numbers }"),
              ElementsAre("This anonymous operation must be the only defined operation."));
}

TEST(Validation, Section523SubscriptionsHaveOneField) {
  EXPECT_THAT(problems("subscription S { dog { name } human { name } }"),
              ElementsAre("Subscription \"S\" must select only one top level field."));
  EXPECT_THAT(problems("subscription { ...F } fragment F on Subscription { dog { name } human { name } }"),
              ElementsAre("Anonymous Subscription must select only one top level field."));
  EXPECT_THAT(problems("subscription { __typename }"),
              ElementsAre("Anonymous Subscription must not select an introspection top level field."));
}

TEST(Validation, Section531FieldsExist) {
  EXPECT_THAT(problems("{ dog { nickname2 } }"),
              ElementsAre("Cannot query field \"nickname2\" on type \"Dog\". Did you mean \"nickname\"?"));
  EXPECT_THAT(problems("{ pet { nickname } }"),
              ElementsAre("Cannot query field \"nickname\" on type \"Pet\". "
                          "Did you mean to use an inline fragment on \"Cat\" or \"Dog\"?"));
  EXPECT_THAT(problems("{ catOrDog { name } }"),
              ElementsAre("Cannot query field \"name\" on type \"CatOrDog\". "
                          "Did you mean to use an inline fragment on \"Being\", \"Pet\", \"Cat\", or \"Dog\"?"));
  EXPECT_THAT(problems("{ dog { __schema { types { name } } } }"),
              ElementsAre(HasSubstr("Cannot query field \"__schema\"")));
}

TEST(Validation, Section532FieldsThatMeetCanBeMerged) {
  EXPECT_THAT(problems("{ dog { a: name a: nickname } }"),
              ElementsAre(merged("a", "\"name\" and \"nickname\" are different fields")));
  EXPECT_THAT(problems("{ dog { at(x: 1) at(x: 2) } }"), ElementsAre(merged("at", "they have differing arguments")));
  EXPECT_THAT(problems("{ dog { at(x: 1, y: 2) at(y: 2, x: 1) } }"), IsEmpty());
  EXPECT_THAT(problems("{ catOrDog { ... on Dog { a: barkVolume } ... on Cat { a: meowVolume } } }"), IsEmpty());
  EXPECT_THAT(problems("{ catOrDog { ... on Dog { a: barkVolume } ... on Cat { a: nickname } } }"),
              ElementsAre(merged("a", "they return conflicting types \"Int\" and \"String\"")));
  EXPECT_THAT(problems("{ pet { ... on Dog { name } ... on Pet { name: barks } } }").size(), 1U)
      << "one pair is told once, whatever is wrong with it";
  EXPECT_THAT(problems("{ catOrDog { ... on Dog { owner { a: name } } ... on Cat { owner { a: iq } } } }"),
              ElementsAre(merged("a", "they return conflicting types \"String\" and \"Int!\"")));
  EXPECT_THAT(problems("{ dog { owner { a: id } ...F } } fragment F on Dog { owner { ... on Human { a: name } } }"),
              ElementsAre(merged("a", "they return conflicting types \"ID!\" and \"String\"")));
}

TEST(Validation, Section532IsNeitherQuadraticNorExponential) {
  std::string same = "{ dog {";
  for (int i = 0; i < 4'000; ++i) same += " name";
  EXPECT_THAT(problems(same + " } }"), IsEmpty());
  std::string fragments = "{ human { ...F0 } }";
  for (int i = 0; i < 60; ++i) {
    const std::string next = std::to_string(i + 1);
    fragments += " fragment F" + std::to_string(i) + " on Human { a: relatives { ...F" + next +
                 " } b: relatives { ...F" + next + " } }";
  }
  EXPECT_THAT(problems(fragments + " fragment F60 on Human { name }"), IsEmpty());
  ValidationLimits limits;
  limits.compared_fields_max = 100;
  EXPECT_THAT(messages_of(validate(pets(), make_document(same + " } }"), limits)),
              ElementsAre(HasSubstr("too complex")));
}

/// The longest that parse.
TEST(Validation, ChainsOfFragmentsAreBoundedBySomethingElseThanTheStack) {
  const auto chain = [](int length, std::string_view before, std::string_view after) {
    std::string text = "{ human { ...F0 } }";
    for (int i = 0; i < length; ++i) {
      text += " fragment F" + std::to_string(i) + " on Human { " + std::string(before) + "...F" +
              std::to_string(i + 1) + std::string(after) + " }";
    }
    return text + " fragment F" + std::to_string(length) + " on Human { name }";
  };
  EXPECT_THAT(problems(chain(200, "relatives { ", " }")), IsEmpty());
  EXPECT_THAT(problems(chain(1'700, "relatives { ", " }")), ElementsAre("The document is nested too deeply."));
  EXPECT_THAT(problems(chain(2'400, "", "")), IsEmpty());
}

TEST(Validation, Section533LeafsHaveNoSelections) {
  EXPECT_THAT(problems("{ numbers { a } }"),
              ElementsAre("Field \"numbers\" must not have a selection since type \"[Int]\" has no subfields."));
  EXPECT_THAT(
      problems("{ dog }"),
      ElementsAre("Field \"dog\" of type \"Dog\" must have a selection of subfields. Did you mean \"dog { ... }\"?"));
}

TEST(Validation, Section54Arguments) {
  EXPECT_THAT(problems("{ dog { at(z: 1) } }"),
              ElementsAre("Unknown argument \"z\" on field \"Dog.at\". Did you mean \"x\" or \"y\"?"));
  EXPECT_THAT(problems("{ numbers @tag(name: \"a\", nam: 1) }"),
              ElementsAre("Unknown argument \"nam\" on directive \"@tag\". Did you mean \"name\"?"));
  EXPECT_THAT(problems("{ dog { at(x: 1, x: 1) } }"), ElementsAre("There can be only one argument named \"x\"."));
  EXPECT_THAT(problems("{ arguments { many(req1: 1) } }"),
              ElementsAre("Field \"many\" argument \"req2\" of type \"Int!\" is required, but it was not provided."));
  EXPECT_THAT(
      problems("{ numbers @tag }"),
      ElementsAre("Directive \"@tag\" argument \"name\" of type \"String!\" is required, but it was not provided."));
  EXPECT_THAT(problems("{ arguments { optional } }"), IsEmpty());
}

TEST(Validation, Section551FragmentDefinitions) {
  EXPECT_THAT(problems("{ dog { ...F } } fragment F on Dog { name } fragment F on Dog { name }"),
              ElementsAre("There can be only one fragment named \"F\"."));
  EXPECT_THAT(problems("{ dog { ... on Dogg { name } } }"),
              ElementsAre("Unknown type \"Dogg\". Did you mean \"Dog\"?"));
  EXPECT_THAT(problems("{ dog { ... on Command { name } ...F } } fragment F on Int { a }"),
              UnorderedElementsAre("Fragment cannot condition on non composite type \"Command\".",
                                   "Fragment \"F\" cannot condition on non composite type \"Int\"."));
  EXPECT_THAT(problems("{ numbers } fragment F on Dog { name }"), ElementsAre("Fragment \"F\" is never used."));
}

TEST(Validation, Section552FragmentSpreads) {
  EXPECT_THAT(problems("{ dog { ...Nothing } }"), ElementsAre("Unknown fragment \"Nothing\"."));
  EXPECT_THAT(problems("{ dog { ...A } } fragment A on Dog { ...B } fragment B on Dog { ...A }"),
              ElementsAre("Cannot spread fragment \"A\" within itself via \"B\"."));
  EXPECT_THAT(problems("{ human { ...A } } fragment A on Human { relatives { ...A } }"),
              ElementsAre("Cannot spread fragment \"A\" within itself."));
  EXPECT_THAT(problems("{ dog { ... on Human { name } ...F } } fragment F on Cat { name }"),
              UnorderedElementsAre(
                  "Fragment cannot be spread here as objects of type \"Dog\" can never be of type \"Human\".",
                  "Fragment \"F\" cannot be spread here as objects of type \"Dog\" can never be of type \"Cat\"."));
}

TEST(Validation, Section561ValuesAreOfTheirTypes) {
  const auto with = [](const std::string& argument) { return problems("{ arguments { " + argument + " } }"); };
  EXPECT_THAT(with("optional(b: \"1\")"), ElementsAre("Int cannot represent non-integer value: \"1\""));
  EXPECT_THAT(with("optional(b: 3000000000)"),
              ElementsAre("Int cannot represent non 32-bit signed integer value: 3000000000"));
  EXPECT_THAT(with("optional(a: null)"), ElementsAre("Expected value of type \"Int!\", found null."));
  EXPECT_THAT(with("float(arg: \"1\")"), ElementsAre("Float cannot represent non numeric value: \"1\""));
  EXPECT_THAT(with("string(arg: 1)"), ElementsAre("String cannot represent a non string value: 1"));
  EXPECT_THAT(with("boolean(arg: 1)"), ElementsAre("Boolean cannot represent a non boolean value: 1"));
  EXPECT_THAT(with("id(arg: 1.5)"), ElementsAre("ID cannot represent a non-string and non-integer value: 1.5"));
  EXPECT_THAT(
      with("command(arg: \"SIT\")"),
      ElementsAre("Enum \"Command\" cannot represent non-enum value: \"SIT\". Did you mean the enum value \"SIT\"?"));
  EXPECT_THAT(with("command(arg: SITT)"),
              ElementsAre("Value \"SITT\" does not exist in \"Command\" enum. Did you mean the enum value \"SIT\"?"));
  EXPECT_THAT(with("list(arg: [\"a\", 1])"), ElementsAre("String cannot represent a non string value: 1"));
  EXPECT_THAT(with("string(arg: [\"a\"])"), ElementsAre("String cannot represent a non string value: [\"a\"]"));
  EXPECT_THAT(with("complex(arg: 1)"), ElementsAre("Expected value of type \"Complex\", found 1."));
  EXPECT_THAT(with("id(arg: 12345678901234567890123)"), IsEmpty());
}

TEST(Validation, Section562InputObjects) {
  const auto with = [](const std::string& value) { return problems("{ arguments { complex(arg: " + value + ") } }"); };
  EXPECT_THAT(with("{required: true, inner: {number: 1, requird: true}}"),
              ElementsAre("Field \"Complex.required\" of required type \"Boolean!\" was not provided.",
                          "Field \"requird\" is not defined by type \"Complex\". Did you mean \"required\"?"));
  EXPECT_THAT(with("{required: true, required: false}"),
              ElementsAre("There can be only one input field named \"required\"."));
  EXPECT_THAT(with("{required: true, count: null}"), ElementsAre("Expected value of type \"Int!\", found null."));
}

TEST(Validation, Section57Directives) {
  EXPECT_THAT(problems("{ numbers @nothing }"), ElementsAre("Unknown directive \"@nothing\"."));
  EXPECT_THAT(problems("query @include(if: true) { numbers }"),
              ElementsAre("Directive \"@include\" may not be used on QUERY."));
  EXPECT_THAT(problems("{ numbers @tag(name: \"a\") @tag(name: \"b\") @onField @onField }"),
              ElementsAre("The directive \"@tag\" can only be used once at this location."));
  EXPECT_THAT(problems("query ($a: ID @onField) { human(id: $a) { name } }"),
              ElementsAre("Directive \"@onField\" may not be used on VARIABLE_DEFINITION."));
}

TEST(Validation, Section58Variables) {
  EXPECT_THAT(problems("query ($a: ID, $a: ID) { human(id: $a) { name } }"),
              ElementsAre("There can be only one variable named \"$a\"."));
  EXPECT_THAT(problems("query ($a: [Human!]) { human(id: $a) { name } }"),
              ElementsAre("Variable \"$a\" cannot be non-input type \"[Human!]\".",
                          "Variable \"$a\" of type \"[Human!]\" used in position expecting type \"ID\"."));
  EXPECT_THAT(problems("query ($a: Nothing) { human(id: $a) { name } }"),
              ElementsAre("Unknown type \"Nothing\". Did you mean \"String\"?"));
  EXPECT_THAT(problems("query Q { ...F } fragment F on Query { human(id: $a) { name } }"),
              ElementsAre("Variable \"$a\" is not defined by operation \"Q\"."));
  EXPECT_THAT(problems("query Q($a: ID, $b: ID) { human(id: $a) { name } }"),
              ElementsAre("Variable \"$b\" is never used in operation \"Q\"."));
}

TEST(Validation, Section585VariablesFitWhereTheyAreUsed) {
  const auto with = [](const std::string& definition, const std::string& field) {
    return problems("query (" + definition + ") { arguments { " + field + " } }");
  };
  EXPECT_THAT(with("$a: String", "optional(b: $a)"),
              ElementsAre("Variable \"$a\" of type \"String\" used in position expecting type \"Int\"."));
  EXPECT_THAT(with("$a: Boolean", "boolean(arg: $a)"),
              ElementsAre("Variable \"$a\" of type \"Boolean\" used in position expecting type \"Boolean!\"."));
  EXPECT_THAT(with("$a: Boolean = true", "boolean(arg: $a)"), IsEmpty());
  EXPECT_THAT(with("$a: Boolean = null", "boolean(arg: $a)").size(), 1U);
  EXPECT_THAT(with("$a: Int", "optional(a: $a)"), IsEmpty()) << "the argument has a default";
  EXPECT_THAT(with("$a: [String!]!", "list(arg: $a)"), IsEmpty());
  EXPECT_THAT(with("$a: String", "list(arg: $a)"),
              ElementsAre("Variable \"$a\" of type \"String\" used in position expecting type \"[String]\"."));
  EXPECT_THAT(with("$a: String", "list(arg: [$a])"), IsEmpty());
  EXPECT_THAT(with("$a: String", "complex(arg: {required: true, number: $a})"),
              ElementsAre("Variable \"$a\" of type \"String\" used in position expecting type \"Int\"."));
}

TEST(Validation, TellsWhere) {
  const auto errors = validate(pets(), make_document("query Q(\n  $a: ID) {\n  human(id: $b) { name } }"));
  ASSERT_EQ(errors.size(), 2U);
  EXPECT_EQ(errors.at(0).locations, (std::vector<Location>{{3, 13}, {1, 1}}));
  EXPECT_EQ(errors.at(1).locations, (std::vector<Location>{{2, 3}}));
}

TEST(Validation, StopsAtItsBoundOfErrors) {
  std::string text = "{";
  for (int i = 0; i < 300; ++i) text += " a" + std::to_string(i);
  const auto found = problems(text + " }");
  EXPECT_EQ(found.size(), 101U);
  EXPECT_EQ(found.back(), "Too many validation errors, error limit reached. Validation aborted.");
}

}  // namespace
}  // namespace postern::graphql
