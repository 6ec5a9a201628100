// Type systems and their extensions (§3).
#include <algorithm>
#include <array>

#include "graphql/parser_impl.hpp"

namespace postern::graphql {
namespace {

constexpr std::array<std::pair<std::string_view, TypeKind>, 6> kKinds{{{"scalar", TypeKind::Scalar},
                                                                       {"type", TypeKind::Object},
                                                                       {"interface", TypeKind::Interface},
                                                                       {"union", TypeKind::Union},
                                                                       {"enum", TypeKind::Enum},
                                                                       {"input", TypeKind::InputObject}}};

/// §3.13, in the order of the specification: first the places of operations, then those of type systems.
constexpr std::array<std::string_view, 19> kDirectiveLocations{"QUERY",
                                                               "MUTATION",
                                                               "SUBSCRIPTION",
                                                               "FIELD",
                                                               "FRAGMENT_DEFINITION",
                                                               "FRAGMENT_SPREAD",
                                                               "INLINE_FRAGMENT",
                                                               "VARIABLE_DEFINITION",
                                                               "SCHEMA",
                                                               "SCALAR",
                                                               "OBJECT",
                                                               "FIELD_DEFINITION",
                                                               "ARGUMENT_DEFINITION",
                                                               "INTERFACE",
                                                               "UNION",
                                                               "ENUM",
                                                               "ENUM_VALUE",
                                                               "INPUT_OBJECT",
                                                               "INPUT_FIELD_DEFINITION"};

}  // namespace

std::string Parser::description() {
  if (!is(TokenKind::String) && !is(TokenKind::BlockString)) return {};
  std::string text = std::move(token_.text);
  next();
  return text;
}

bool Parser::type_system_definition(std::string description, Location at, bool is_extension) {
  const auto kind = std::ranges::find(kKinds, token_.text, &std::pair<std::string_view, TypeKind>::first);
  const auto add = [&](auto definition) {
    definition.description = std::move(description);
    definition.at = at;
    document_.definitions.emplace_back(std::move(definition));
    return true;
  };
  if (is_keyword("schema")) {
    next();
    SchemaDefinition schema = schema_definition();
    schema.is_extension = is_extension;
    if (schema.roots.empty() && (!is_extension || schema.directives.empty())) expect("{");
    return add(std::move(schema));
  }
  if (is_keyword("directive") && !is_extension) {
    next();
    return add(directive_definition());
  }
  if (!is(TokenKind::Name) || kind == kKinds.end()) return false;
  next();
  TypeDefinition type = type_definition(kind->second);
  type.is_extension = is_extension;
  const bool has_content = !type.interfaces.empty() || !type.directives.empty() || !type.fields.empty() ||
                           !type.input_fields.empty() || !type.values.empty() || !type.members.empty();
  if (is_extension && !has_content) fail_unexpected();
  return add(std::move(type));
}

SchemaDefinition Parser::schema_definition() {
  SchemaDefinition schema;
  schema.directives = directives(Constancy::Constant);
  optional_many("{", "}", [&] {
    RootDefinition& root = schema.roots.emplace_back();
    if (is_keyword("mutation")) root.kind = OperationKind::Mutation;
    if (is_keyword("subscription")) root.kind = OperationKind::Subscription;
    if (root.kind == OperationKind::Query && !is_keyword("query")) return fail_unexpected();
    next();
    expect(":");
    root.type = located_name();
  });
  return schema;
}

TypeDefinition Parser::type_definition(TypeKind kind) {
  TypeDefinition type;
  type.kind = kind;
  type.name = name();
  const bool has_interfaces = kind == TypeKind::Object || kind == TypeKind::Interface;
  if (has_interfaces && take_keyword("implements")) {
    separated("&", [&] { type.interfaces.push_back(located_name()); });
  }
  type.directives = directives(Constancy::Constant);
  type_body(type);
  return type;
}

void Parser::type_body(TypeDefinition& type) {
  switch (type.kind) {
    case TypeKind::Scalar:
      return;
    case TypeKind::Object:
    case TypeKind::Interface:
      return optional_many("{", "}", [&] { type.fields.push_back(field_definition()); });
    case TypeKind::Union:
      if (take("=")) separated("|", [&] { type.members.push_back(located_name()); });
      return;
    case TypeKind::Enum:
      return optional_many("{", "}", [&] { type.values.push_back(enum_value()); });
    case TypeKind::InputObject:
      type.input_fields = input_values("{", "}");
  }
}

std::vector<InputValueDefinition> Parser::input_values(std::string_view open, std::string_view close) {
  std::vector<InputValueDefinition> all;
  optional_many(open, close, [&] { all.push_back(input_value()); });
  return all;
}

InputValueDefinition Parser::input_value() {
  InputValueDefinition value;
  value.at = token_.at;
  value.description = description();
  value.name = name();
  expect(":");
  value.type = type();
  if (take("=")) value.default_value = this->value(Constancy::Constant);
  value.directives = directives(Constancy::Constant);
  return value;
}

FieldDefinition Parser::field_definition() {
  FieldDefinition field;
  field.at = token_.at;
  field.description = description();
  field.name = name();
  field.arguments = input_values("(", ")");
  expect(":");
  field.type = type();
  field.directives = directives(Constancy::Constant);
  return field;
}

EnumValueDefinition Parser::enum_value() {
  EnumValueDefinition value;
  value.at = token_.at;
  value.description = description();
  if (is_keyword("true") || is_keyword("false") || is_keyword("null")) {
    fail(token_.described() + " is reserved and cannot be used for an enum value.");
  }
  value.name = name();
  value.directives = directives(Constancy::Constant);
  return value;
}

DirectiveDefinition Parser::directive_definition() {
  DirectiveDefinition directive;
  expect("@");
  directive.name = name();
  directive.arguments = input_values("(", ")");
  directive.is_repeatable = take_keyword("repeatable");
  expect_keyword("on");
  separated("|", [&] { directive.locations.push_back(directive_location()); });
  return directive;
}

std::string Parser::directive_location() {
  if (is(TokenKind::Name) && std::ranges::find(kDirectiveLocations, token_.text) == kDirectiveLocations.end()) {
    fail_unexpected();
  }
  return name();
}

}  // namespace postern::graphql
