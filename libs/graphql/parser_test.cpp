#include "graphql/parser.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "graphql/text.hpp"

namespace postern::graphql {
namespace {

using ::testing::HasSubstr;

Error error_of(std::string_view text, const ParseLimits& limits = {}) {
  auto document = parse(text, limits);
  EXPECT_FALSE(document) << text;
  return document ? Error{} : std::move(document.error());
}

template <typename Node>
Node only(std::string_view text) {
  const auto document = parse(text);
  EXPECT_TRUE(document) << text << ": " << (document ? "" : document.error().message);
  return std::get<Node>(document->definitions.at(0));
}

std::string repeated(std::string_view text, std::size_t times) {
  std::string all;
  for (; times > 0; --times) all += text;
  return all;
}

TEST(Parser, ReadsAnOperationWithAllItsParts) {
  const auto operation = only<Operation>(R"(mutation Do($id: [ID!]! = ["a"] @v, $b: Int) @top(x: 1) {
    alias: field(a: $id, b: {c: [1, 2.5, TRUE, true, null, "s"]}) @include(if: $b) { ...F @x ... on T { a } ... { b } }
  })");
  EXPECT_EQ(operation.kind, OperationKind::Mutation);
  EXPECT_EQ(operation.name, "Do");
  EXPECT_EQ(print(operation.variables.at(0).type), "[ID!]!");
  EXPECT_EQ(print(*operation.variables.at(0).default_value), "[\"a\"]");
  EXPECT_EQ(operation.directives.at(0).name, "top");
  const auto& field = std::get<Field>(operation.selections.at(0).node);
  EXPECT_EQ(field.response_name(), "alias");
  EXPECT_EQ(field.name, "field");
  EXPECT_EQ(field.at, (Location{2, 5}));
  EXPECT_EQ(print(field.arguments.at(1).value), "{c: [1, 2.5, TRUE, true, null, \"s\"]}");
  EXPECT_EQ(std::get<FragmentSpread>(field.selections.at(0).node).name, "F");
  EXPECT_EQ(std::get<InlineFragment>(field.selections.at(1).node).type_condition->text, "T");
  EXPECT_FALSE(std::get<InlineFragment>(field.selections.at(2).node).type_condition);
}

TEST(Parser, TakesKeywordsAsNames) {
  EXPECT_TRUE(parse("{ on fragment query true null: type }"));
  EXPECT_TRUE(parse("query on { a } fragment type on on { on }"));
}

TEST(Parser, SaysWhatItFoundAndWhere) {
  const Error error = error_of("{\n  field(a: }");
  EXPECT_EQ(error.message, "Syntax Error: Unexpected \"}\".");
  EXPECT_EQ(error.locations, (std::vector<Location>{{2, 12}}));
  EXPECT_EQ(error_of("").message, "Syntax Error: Unexpected <EOF>.");
  EXPECT_EQ(error_of("{").message, "Syntax Error: Expected Name, found <EOF>.");
  EXPECT_EQ(error_of("{}").message, "Syntax Error: Expected Name, found \"}\".");
  EXPECT_EQ(error_of("{ ...on }").message, "Syntax Error: Expected Name, found \"}\".");
  EXPECT_EQ(error_of("fragment on on on { a }").message, "Syntax Error: Unexpected Name \"on\".");
  EXPECT_EQ(error_of("fragment f { a }").message, "Syntax Error: Expected \"on\", found \"{\".");
  EXPECT_EQ(error_of("notAnOperation { a }").message, "Syntax Error: Unexpected Name \"notAnOperation\".");
  EXPECT_EQ(error_of("query ($a: Int = $b) { a }").message,
            "Syntax Error: Unexpected variable \"$b\" in constant value.");
  EXPECT_EQ(error_of("query ($a: Int = $b) { a }").locations, (std::vector<Location>{{1, 18}}));
  EXPECT_EQ(error_of("\"text\" query { a }").message,
            "Syntax Error: Unexpected description, descriptions are supported only on type definitions.");
}

TEST(Parser, ReadsEveryKindOfTypeDefinition) {
  const auto type = only<TypeDefinition>(R"("of T" type T implements & A & B @d { "of f" f(a: Int = 1 @x): [T!]! })");
  EXPECT_EQ(type.description, "of T");
  EXPECT_EQ(type.interfaces.at(1).text, "B");
  EXPECT_EQ(type.fields.at(0).description, "of f");
  EXPECT_EQ(print(type.fields.at(0).type), "[T!]!");
  EXPECT_EQ(only<TypeDefinition>("union U @d = | A | B").members.size(), 2U);
  EXPECT_EQ(only<TypeDefinition>("enum E { A @x B }").values.size(), 2U);
  EXPECT_EQ(only<TypeDefinition>("input I { a: Int = 1, b: [I] }").input_fields.size(), 2U);
  EXPECT_EQ(only<TypeDefinition>("interface I implements J { a: Int }").kind, TypeKind::Interface);
  EXPECT_EQ(only<TypeDefinition>("scalar S @d").directives.size(), 1U);
  EXPECT_TRUE(only<TypeDefinition>("extend type T @d").is_extension);
  EXPECT_EQ(only<SchemaDefinition>("schema @a { query: Q mutation: M }").roots.size(), 2U);
  EXPECT_TRUE(only<SchemaDefinition>("extend schema @a").is_extension);
  const auto directive = only<DirectiveDefinition>("directive @a(b: Int) repeatable on | FIELD | QUERY");
  EXPECT_TRUE(directive.is_repeatable);
  EXPECT_EQ(directive.locations.size(), 2U);
}

TEST(Parser, RefusesTypeDefinitionsThatSayNothing) {
  EXPECT_EQ(error_of("extend type T").message, "Syntax Error: Unexpected <EOF>.");
  EXPECT_EQ(error_of("schema").message, "Syntax Error: Expected \"{\", found <EOF>.");
  EXPECT_EQ(error_of("type T {}").message, "Syntax Error: Expected Name, found \"}\".");
  EXPECT_EQ(error_of("enum E { true }").message,
            "Syntax Error: Name \"true\" is reserved and cannot be used for an enum value.");
  EXPECT_EQ(error_of("directive @a on NOWHERE").message, "Syntax Error: Unexpected Name \"NOWHERE\".");
  EXPECT_EQ(error_of("\"x\" extend type T { a: Int }").message,
            "Syntax Error: Unexpected description, descriptions are supported only on type definitions.");
}

TEST(Parser, RefusesWhatIsOverABoundAndNamesTheBound) {
  EXPECT_THAT(error_of("{ a }", {.bytes_max = 4}).message, HasSubstr("larger than 4 bytes"));
  EXPECT_THAT(error_of("{ a b }", {.tokens_max = 3}).message, HasSubstr("more than 3 tokens"));
  EXPECT_THAT(error_of("{ a b c }", {.fields_max = 2}).message, HasSubstr("more than 2 fields"));
  EXPECT_THAT(error_of("{ x: a y: b z: c }", {.aliases_max = 2}).message, HasSubstr("more than 2 aliases"));
  EXPECT_TRUE(parse("{ a b }", {.tokens_max = 4, .fields_max = 2}));
  EXPECT_THAT(error_of("{ a \xFF }").message, HasSubstr("not UTF-8"));
}

TEST(Parser, RefusesDeepNestingOfEveryKindBeforeTheStackEnds) {
  const std::size_t deep = 50'000;
  const ParseLimits limits{.bytes_max = 1U << 20, .tokens_max = 1'000'000, .fields_max = 1'000'000};
  for (const std::string& text : {repeated("{ a ", deep), repeated("{ ... ", deep), "{ a(b: " + repeated("[", deep),
                                  "{ a(b: " + repeated("{c:", deep), "query ($a: " + repeated("[", deep)}) {
    EXPECT_THAT(error_of(text, limits).message, HasSubstr("more than 64 nested levels"));
  }
}

}  // namespace
}  // namespace postern::graphql
