// The Admin API's language: documents, type systems and HTTP requests as anybody may send them.
//
// Holds: what is valid can be executed, within the bounds of its answer, and the answer is JSON that reads back; a type
// system that builds is printed to a text that builds to the same text; every HTTP input has an answer of a known
// status.
#include "fuzz.hpp"
#include "graphql/http.hpp"
#include "graphql/printer.hpp"

namespace {

using namespace postern;
using namespace postern::graphql;

constexpr std::string_view kSchema = R"(
  directive @mark(text: String!) repeatable on FIELD | QUERY | VARIABLE_DEFINITION
  interface Node { id: ID! }
  type User implements Node {
    id: ID! name(upper: Boolean = false): String friends(first: Int, filter: Filter): [User!] best: User!
  }
  type Group implements Node { id: ID! users: [User]! color: Color }
  union Any = User | Group
  enum Color { RED GREEN }
  input Filter { name: String = "x" and: [Filter!] color: Color count: Int! = 3 json: Json }
  scalar Json
  type Query { node(id: ID!): Node user: User any: [Any] json(value: Json): Json numbers: [[Int!]!] }
  type Mutation { rename(name: String!): User }
  type Subscription { user: User }
)";

constexpr std::string_view kData = R"({
  "node": {"__typename": "User", "id": 1, "friends": [{"id": "2", "name": "b", "best": null}]},
  "user": {"id": "3", "name": "c", "friends": [{"id": "4", "best": {"id": "5"}}], "best": {"id": "6"}},
  "any": [{"__typename": "Group", "id": "7", "users": [null], "color": "RED"}, null, {"__typename": "User"}],
  "json": {"a": [1]}, "numbers": [[1, 2], [null], []], "rename": {"id": "8"}
})";

Limits limits() {
  Limits all;
  all.execution.result_fields_max = 20'000;
  all.validation.compared_fields_max = 50'000;
  return all;
}

const Schema& schema() {
  static const Schema built = std::move(*build_schema(kSchema));
  return built;
}

ObjectValue root() {
  static const json::Value data = *json::parse(kData);
  return {{}, AnyRef::to(data), {}};
}

void check_json(const std::string& text) {
  const auto value = json::parse(text, {.bytes = SIZE_MAX, .depth = 1000});
  FUZZ_CHECK(value && value->as_object() != nullptr);
  FUZZ_CHECK(value->find("errors") != nullptr || value->find("data") != nullptr);
}

void check_document(std::string_view text) {
  const auto document = parse(text);
  if (!document) {
    FUZZ_CHECK(document.error().message.starts_with("Syntax Error: "));
    return;
  }
  if (!validate(schema(), *document, limits().validation).empty()) return;
  const json::Object variables{{"a", "x"}, {"b", 1}, {"c", json::Object{{"count", 2}}}, {"d", true}};
  const Response response = graphql::execute(schema(), *document, "", variables, {}, limits().execution, root());
  FUZZ_CHECK(response.data || !response.errors.empty());
  check_json(json::write(to_json(response)));
}

void check_type_system(std::string_view text) {
  const auto built = build_schema(text);
  if (!built) {
    FUZZ_CHECK(!built.error().empty());
    return;
  }
  const std::string printed = print_schema(*built);
  const auto again = build_schema(printed);
  FUZZ_CHECK(again.has_value());
  FUZZ_CHECK(print_schema(*again) == printed);
}

void check_http(fuzz::Choices choices) {
  constexpr std::string_view kMethods[] = {"POST", "GET", "HEAD", "PUT"};
  const std::string_view method = kMethods[choices.below(4)];
  const auto accept = choices.block(), type = choices.block(), query = choices.block();
  const HttpInput input{method, as_text(query), as_text(accept), as_text(type), as_text(choices.rest())};
  const auto prepared = prepare(schema(), input, limits());
  const HttpOutput output = prepared ? graphql::execute(schema(), *prepared, {}, limits(), root()) : prepared.error();
  constexpr int kStatuses[] = {200, 400, 405, 406, 413, 415};
  FUZZ_CHECK(std::ranges::find(kStatuses, output.status) != std::end(kStatuses));
  check_json(output.body);
}

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  const auto with = [](std::uint8_t kind, std::string_view text) { return Script().u8(kind).raw(text).bytes(); };
  const auto http = [](std::uint8_t method, std::string_view query, std::string_view body) {
    return Script().u8(2).u8(method).block("application/json").block("application/json").block(query).raw(body).bytes();
  };
  return {
      with(0,
           "query Q($a: ID!, $b: Int = 3) @mark(text: \"x\") { node(id: $a) { id ... on User { friends(first: $b) { "
           "name } } } }"),
      with(0,
           "{ any { ... on Group { users { ...U } } ...U } numbers } fragment U on User { id best { name(upper: true) "
           "@skip(if: false) } }"),
      with(0,
           "query ($c: Filter) { user { friends(filter: $c) { id } f: friends(filter: {and: [{color: RED}], json: {a: "
           "[1.5]}}) { id } } }"),
      with(0, "mutation { rename(name: \"\"\"block\n  text\"\"\") { id } } "),
      with(0,
           "{ __schema { types { kind name fields(includeDeprecated: true) { name type { ofType { name } } } } } "
           "__type(name: \"User\") { name } }"),
      with(1, kSchema),
      with(1,
           "\"text\" schema { query: Q } extend type Q { b(c: I = {}): Int @deprecated } type Q { a: Int } input I { "
           "d: [I] = [] }"),
      http(0, "", R"({"query":"{ user { id } }","variables":{},"operationName":null})"),
      http(1, "query=%7Buser%7Bid%7D%7D&variables=%7B%7D", ""),
  };
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const ByteView bytes(data + 1, size - 1);
  switch (data[0] % 3) {
    case 0:
      check_document(as_text(bytes));
      break;
    case 1:
      check_type_system(as_text(bytes));
      break;
    default:
      check_http(fuzz::Choices(bytes));
  }
  return 0;
}
