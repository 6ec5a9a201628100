// One small schema with everything in it, and short ways to ask it, for the tests of this library.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "graphql/execution.hpp"
#include "graphql/parser.hpp"
#include "graphql/schema.hpp"
#include "graphql/validation.hpp"

namespace postern::graphql {

inline constexpr std::string_view kPetSchema = R"(
  directive @onField repeatable on FIELD
  directive @tag(name: String!) on FIELD | QUERY

  interface Node { id: ID! }
  interface Being { name(surname: Boolean): String }
  interface Pet implements Being { name(surname: Boolean): String barks: Boolean }
  type Dog implements Node & Being & Pet {
    id: ID!
    name(surname: Boolean): String
    nickname: String
    barks: Boolean
    barkVolume: Int
    knows(command: Command): Boolean
    at(x: Int, y: Int): Boolean
    owner: Human
  }
  type Cat implements Node & Being & Pet {
    id: ID!
    name(surname: Boolean): String
    nickname: String
    barks: Boolean
    meowVolume: Int
    owner: Human
  }
  type Human implements Node & Being {
    id: ID!
    name(surname: Boolean): String
    pets(first: Int, after: String): [Pet!]
    relatives: [Human]
    iq: Int! @deprecated(reason: "Who knows")
  }
  union CatOrDog = Cat | Dog
  enum Command { SIT HEEL DOWN @deprecated }
  input Complex { required: Boolean! number: Int list: [String] count: Int! = 7 inner: Complex }
  scalar Date @specifiedBy(url: "https://example.org/date")
  scalar Any

  type Arguments {
    many(req1: Int!, req2: Int!): Int
    optional(a: Int! = 0, b: Int = 3): Int
    boolean(arg: Boolean!): Boolean
    list(arg: [String]): String
    nonNullList(arg: [Int!]!): Int
    complex(arg: Complex): String
    date(arg: Date): Date
    any(arg: Any): Any
    id(arg: ID): ID
    float(arg: Float): Float
    command(arg: Command): Command
    string(arg: String): String
  }
  type Query {
    human(id: ID): Human
    dog: Dog
    cat: Cat
    pet: Pet
    catOrDog: CatOrDog
    node: Node
    arguments: Arguments
    numbers: [Int]
    strict: [Int!]
  }
  type Mutation { rename(name: String): Dog }
  type Subscription { dog: Dog human: Human }
)";

inline Schema make_schema(std::string_view sdl, const Resolvers& resolvers = {}) {
  auto schema = build_schema(sdl, resolvers);
  if (!schema) throw std::runtime_error(schema.error().front().message);
  return std::move(*schema);
}

inline Document make_document(std::string_view text) {
  auto document = parse(text);
  if (!document) throw std::runtime_error(document.error().message);
  return std::move(*document);
}

inline std::vector<std::string> messages_of(const std::vector<Error>& errors) {
  std::vector<std::string> messages;
  for (const Error& error : errors) messages.push_back(error.message);
  return messages;
}

/// The whole response as JSON.
inline std::string run(const Schema& schema, std::string_view query, std::string_view variables = "{}",
                       std::string_view root = "{}", AnyRef context = {}, const ExecutionLimits& limits = {}) {
  const auto values = json::parse(variables, {1 << 20, 64});
  const auto source = json::parse(root, {1 << 20, 64});
  if (!values || !source) throw std::runtime_error("the test's JSON is none");
  const Document document = make_document(query);
  return json::write(
      to_json(execute(schema, document, "", *values->as_object(), context, limits, {{}, AnyRef::to(*source), {}})));
}

}  // namespace postern::graphql
