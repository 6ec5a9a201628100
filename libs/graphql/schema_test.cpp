#include "graphql/schema.hpp"

#include "graphql/graphql_test_util.hpp"
#include "graphql/printer.hpp"

namespace postern::graphql {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> problems(std::string_view sdl, const Resolvers& resolvers = {}) {
  const auto schema = build_schema(sdl, resolvers);
  EXPECT_FALSE(schema) << sdl;
  return schema ? std::vector<std::string>{} : messages_of(schema.error());
}

/// With a query root, so that only the rest can be wrong.
std::vector<std::string> problems_beside_query(const std::string& sdl) {
  return problems("type Query { q: Int } " + sdl);
}

TEST(Schema, KnowsItsTypesAndWhatTheyAre) {
  const Schema schema = make_schema(kPetSchema);
  const Type& pet = *schema.find("Pet");
  const Type& dog = *schema.find("Dog");
  EXPECT_TRUE(dog.implements(pet));
  EXPECT_TRUE(pet.may_be(dog));
  EXPECT_FALSE(pet.may_be(*schema.find("Human")));
  EXPECT_TRUE(overlaps(pet, *schema.find("CatOrDog")));
  EXPECT_FALSE(overlaps(dog, *schema.find("Human")));
  EXPECT_EQ(dog.field("owner")->type.named, schema.find("Human"));
  EXPECT_EQ(schema.find("Human")->field("pets")->type.view().to_string(), "[Pet!]");
  EXPECT_EQ(schema.find("Nothing"), nullptr);
  EXPECT_EQ(schema.root(OperationKind::Mutation), schema.find("Mutation"));
  EXPECT_EQ(*schema.find("Date")->specified_by, "https://example.org/date");
  EXPECT_EQ(*schema.find("Human")->field("iq")->deprecation, "Who knows");
  EXPECT_EQ(schema.find("Command")->values.at(2).deprecation, "No longer supported");
  EXPECT_EQ(schema.find("Complex")->input_field("count")->default_value, json::Value(7));
}

TEST(Schema, HasOnlyTheBuiltInScalarsThatItUses) {
  const Schema schema = make_schema("type Query { q: Float }");
  EXPECT_NE(schema.find("Float"), nullptr);
  EXPECT_NE(schema.find("String"), nullptr);
  EXPECT_EQ(schema.find("Int"), nullptr);
  EXPECT_EQ(schema.find("ID"), nullptr);
}

TEST(Schema, JoinsExtensions) {
  const Schema schema = make_schema(R"(
    type Query { a: Int } extend type Query implements I { b: E } interface I { b: E }
    enum E { A } extend enum E { B } union U = Query extend union U = M type M { a: Int }
    input In { a: Int } extend input In { b: In } extend schema { mutation: M }
  )");
  EXPECT_NE(schema.find("Query")->field("b"), nullptr);
  EXPECT_TRUE(schema.find("E")->has_value("B"));
  EXPECT_EQ(schema.find("U")->members.size(), 2U);
  EXPECT_EQ(schema.root(OperationKind::Mutation), schema.find("M"));
  EXPECT_THAT(problems_beside_query("extend type Nothing { a: Int }"),
              ElementsAre("Cannot extend type \"Nothing\" because it is not defined."));
  EXPECT_THAT(problems_beside_query("extend input Query { a: Int }"),
              ElementsAre(HasSubstr("Cannot extend type \"Query\"")));
}

TEST(Schema, NeedsRootTypesThatAreDifferentObjects) {
  EXPECT_THAT(problems("type A { a: Int }"), ElementsAre("Query root type must be provided."));
  EXPECT_THAT(problems("schema { query: I } interface I { a: Int }"),
              ElementsAre("Query root type must be Object type, it cannot be I."));
  EXPECT_THAT(problems("schema { query: A mutation: A } type A { a: Int }"),
              ElementsAre("All root types must be different."));
  EXPECT_THAT(problems("schema { query: A query: A } type A { a: Int }"),
              ElementsAre("There can be only one query type in schema."));
  EXPECT_THAT(problems("schema { query: A } schema { query: A } type A { a: Int }"),
              ElementsAre("Must provide only one schema definition."));
}

TEST(Schema, RefusesNamesThatComeTwiceAreUnknownOrReserved) {
  EXPECT_THAT(problems_beside_query("scalar A scalar A"), ElementsAre("There can be only one type named \"A\"."));
  EXPECT_THAT(problems_beside_query("scalar Int"), ElementsAre("There can be only one type named \"Int\"."));
  EXPECT_THAT(problems_beside_query("type A { a: Int a: Int }"),
              ElementsAre("Field \"A.a\" can only be defined once."));
  EXPECT_THAT(problems_beside_query("type A { a(b: Int b: Int): Int }"),
              ElementsAre("Argument \"A.a(b:)\" can only be defined once."));
  EXPECT_THAT(problems_beside_query("enum A { B B }"), ElementsAre("Enum value \"A.B\" can only be defined once."));
  EXPECT_THAT(problems_beside_query("directive @a on FIELD directive @a on FIELD"),
              ElementsAre("There can be only one directive named \"@a\"."));
  EXPECT_THAT(problems_beside_query("type A { a: Nothing }"), ElementsAre("Unknown type \"Nothing\"."));
  EXPECT_THAT(problems_beside_query("type __A { a: Int }"),
              ElementsAre("Name \"__A\" must not begin with \"__\", which is reserved by GraphQL introspection."));
  EXPECT_THAT(problems_beside_query("type A { __a(__b: Int): Int }").size(), 2U);
}

TEST(Schema, RefusesTypesInPlacesWhereTheyCannotBe) {
  EXPECT_THAT(problems_beside_query("type A { a: B } input B { b: Int }"),
              ElementsAre("The type of A.a must be Output Type but got: B."));
  EXPECT_THAT(problems_beside_query("type A { a(b: [A]): Int }"),
              ElementsAre("The type of A.a(b:) must be Input Type but got: [A]."));
  EXPECT_THAT(problems_beside_query("input A { a: Query! }"),
              ElementsAre("The type of A.a must be Input Type but got: Query!."));
  EXPECT_THAT(problems_beside_query("directive @a(b: Query) on FIELD"),
              ElementsAre("The type of @a(b:) must be Input Type but got: Query."));
  EXPECT_THAT(problems_beside_query("union U = Int"),
              ElementsAre("Union type U can only include Object types, it cannot include Int."));
  EXPECT_THAT(problems_beside_query("union U = Query | Query"),
              ElementsAre("Union type U can only include type Query once."));
}

TEST(Schema, RefusesTypesWithoutContent) {
  EXPECT_THAT(problems_beside_query("type A"), ElementsAre("Type A must define one or more fields."));
  EXPECT_THAT(problems_beside_query("union A"), ElementsAre("Union type A must define one or more member types."));
  EXPECT_THAT(problems_beside_query("enum A"), ElementsAre("Enum type A must define one or more values."));
  EXPECT_THAT(problems_beside_query("input A"), ElementsAre("Input Object type A must define one or more fields."));
}

TEST(Schema, ChecksThatInterfacesAreImplemented) {
  const auto with = [](const std::string& fields) {
    return problems_beside_query("interface I { a(x: Int!): [Query] } type T implements I { " + fields + " }");
  };
  EXPECT_THAT(with("b: Int"), ElementsAre("Interface field I.a expected but T does not provide it."));
  EXPECT_THAT(with("a(x: Int!): Query"),
              ElementsAre("Interface field I.a expects type [Query] but T.a is type Query."));
  EXPECT_THAT(with("a: [Query]"),
              ElementsAre("Interface field argument I.a(x:) expected but T.a does not provide it."));
  EXPECT_THAT(with("a(x: Int): [Query]"),
              ElementsAre("Interface field argument I.a(x:) expects type Int! but T.a(x:) is type Int."));
  EXPECT_THAT(
      with("a(x: Int!, y: Int!): [Query]"),
      ElementsAre("Object field T.a includes required argument y that is missing from the Interface field I.a."));
  make_schema("type Query implements I { a(x: Int, y: Int = 1): Query! } interface I { a(x: Int): I }");
  EXPECT_THAT(problems_beside_query("type T implements Query { q: Int }"),
              ElementsAre("Type T must only implement Interface types, it cannot implement Query."));
  EXPECT_THAT(problems_beside_query("interface A { a: Int } interface B implements A { a: Int } "
                                    "type T implements B { a: Int }"),
              ElementsAre("Type T must implement A because it is implemented by B."));
  EXPECT_THAT(problems_beside_query("interface A implements B { a: Int } interface B implements A { a: Int }"),
              Contains("Type A cannot implement B because it would create a circular reference."));
  EXPECT_THAT(problems_beside_query("interface A implements A { a: Int }"),
              ElementsAre("Type A cannot implement itself because it would create a circular reference."));
}

TEST(Schema, RefusesInputsThatNobodyCouldWrite) {
  EXPECT_THAT(
      problems_beside_query("input A { b: B! } input B { a: A! }"),
      ElementsAre("Cannot reference Input Object \"A\" within itself through a series of non-null fields: \"b.a\"."));
  make_schema("type Query { q: Int } input A { a: A b: [A!]! }");
  EXPECT_THAT(problems_beside_query("input A { a: Int! @deprecated }"),
              ElementsAre("Required input field A.a cannot be deprecated."));
  EXPECT_THAT(problems_beside_query("type A { a(b: Int! @deprecated): Int }"),
              ElementsAre("Required argument A.a(b:) cannot be deprecated."));
}

TEST(Schema, ChecksDefaultsAndCoercesThem) {
  EXPECT_THAT(problems_beside_query("input A { a: Int = \"x\" }"),
              ElementsAre("The default value of A.a is invalid: Int cannot represent non-integer value: \"x\""));
  const Schema schema = make_schema("type Query { q(a: A = {}): Int } input A { b: B = {} } input B { c: [Int] = 3 }");
  EXPECT_EQ(json::write(*schema.find("Query")->field("q")->arguments.at(0).default_value), R"({"b":{"c":[3]}})");
  EXPECT_THAT(problems_beside_query("input A { b: B = {} } input B { a: A = {} }"),
              ElementsAre(HasSubstr("contains itself")));
  make_schema("type Query { q: Int } input A { a: [A!] = [] }");
}

TEST(Schema, ChecksDirectivesWhereTheyStand) {
  EXPECT_THAT(problems_beside_query("type A @nothing { a: Int }"), ElementsAre("Unknown directive \"@nothing\"."));
  EXPECT_THAT(problems_beside_query("type A @deprecated { a: Int }"),
              ElementsAre("Directive \"@deprecated\" may not be used on OBJECT."));
  EXPECT_THAT(problems_beside_query("type A { a: Int @deprecated @deprecated }"),
              ElementsAre("The directive \"@deprecated\" can only be used once at this location."));
  EXPECT_THAT(problems_beside_query("scalar A @specifiedBy"),
              ElementsAre(HasSubstr("argument \"url\" of type \"String!\" is required")));
  EXPECT_THAT(problems_beside_query("scalar A @specifiedBy(url: 1)"),
              ElementsAre("String cannot represent a non string value: 1"));
  EXPECT_THAT(problems_beside_query("scalar A @specifiedBy(url: \"a\", to: 1)"),
              ElementsAre("Unknown argument \"to\" on directive \"@specifiedBy\"."));
}

TEST(Schema, RefusesResolversForFieldsThatItDoesNotHave) {
  Resolvers resolvers;
  resolvers.add("Query.nothing", [](const Call&) { return Resolved(); });
  EXPECT_THAT(problems("type Query { q: Int }", resolvers), ElementsAre(HasSubstr("Query.nothing")));
  Resolvers scalars;
  scalars.add_scalar("Int", {});
  EXPECT_THAT(problems("type Query { q: Int }", scalars), ElementsAre(HasSubstr("Int, which is no custom scalar")));
}

TEST(Schema, TellsWhichFieldsHaveNoResolver) {
  Resolvers resolvers;
  resolvers.add("Query.a", [](const Call&) { return Resolved(1); });
  const Schema schema = make_schema("type Query { a: Int b: Int }", resolvers);
  EXPECT_THAT(schema.fields_without_resolver(), ElementsAre("Query.b"));
}

TEST(Schema, RefusesOperationsAndTellsSyntaxErrors) {
  EXPECT_THAT(problems_beside_query("{ a }"), ElementsAre("A type system has no operations."));
  EXPECT_THAT(problems("type Query {"), ElementsAre("Syntax Error: Expected Name, found <EOF>."));
}

TEST(Printer, WritesASchemaThatBuildsAgainToTheSameText) {
  const std::string text = print_schema(make_schema(kPetSchema));
  EXPECT_EQ(print_schema(make_schema(text)), text);
  EXPECT_THAT(text, HasSubstr("scalar Date @specifiedBy(url: \"https://example.org/date\")\n"));
  EXPECT_THAT(text, HasSubstr("type Dog implements Node & Being & Pet {\n  id: ID!\n"));
  EXPECT_THAT(text, HasSubstr("  iq: Int! @deprecated(reason: \"Who knows\")\n"));
  EXPECT_THAT(text, HasSubstr("directive @onField repeatable on FIELD\n"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("__")));
}

TEST(Printer, WritesDescriptionsAndRootsWhereTheirNamesDoNotSayThem) {
  const std::string text = print_schema(make_schema(R"(
    "of the schema" schema { query: Root }
    """
    of the root
      in two lines
    """
    type Root { "of f" f("of a" a: Int = 1 b: String): Int }
    "of E" enum E { "of A" A }
  )"));
  EXPECT_EQ(
      text,
      "\"\"\"of the schema\"\"\"\nschema {\n  query: Root\n}\n\n\"\"\"\nof the root\n  in two lines\n\"\"\"\n"
      "type Root {\n  \"\"\"of f\"\"\"\n  f(\n    \"\"\"of a\"\"\"\n    a: Int = 1\n    b: String\n  ): Int\n}\n\n"
      "\"\"\"of E\"\"\"\nenum E {\n  \"\"\"of A\"\"\"\n  A\n}\n");
}

}  // namespace
}  // namespace postern::graphql
