// Operations and fragments (§2.3 to §2.8).
#include "graphql/parser_impl.hpp"

namespace postern::graphql {

Operation Parser::operation() {
  Operation operation;
  operation.at = token_.at;
  if (!is("{")) {
    if (is_keyword("mutation")) operation.kind = OperationKind::Mutation;
    if (is_keyword("subscription")) operation.kind = OperationKind::Subscription;
    next();
    operation.name_at = token_.at;
    if (is(TokenKind::Name)) operation.name = name();
    optional_many("(", ")", [&] { operation.variables.push_back(variable_definition()); });
    operation.directives = directives(Constancy::Variables);
  }
  operation.selections = selections();
  return operation;
}

VariableDefinition Parser::variable_definition() {
  VariableDefinition definition;
  definition.at = token_.at;
  expect("$");
  definition.name_at = token_.at;
  definition.name = name();
  expect(":");
  definition.type = type();
  if (take("=")) definition.default_value = value(Constancy::Constant);
  definition.directives = directives(Constancy::Constant);
  return definition;
}

Fragment Parser::fragment() {
  Fragment fragment;
  fragment.at = token_.at;
  expect_keyword("fragment");
  if (is_keyword("on")) fail_unexpected();
  fragment.name_at = token_.at;
  fragment.name = name();
  expect_keyword("on");
  fragment.type_condition = located_name();
  fragment.directives = directives(Constancy::Variables);
  fragment.selections = selections();
  return fragment;
}

std::vector<Selection> Parser::selections() {
  const Level level(*this);
  std::vector<Selection> all;
  many("{", "}", [&] { all.push_back(selection()); });
  return all;
}

Selection Parser::selection() {
  const Location at = token_.at;
  if (take("...")) return fragment_selection(at);
  return {field()};
}

Selection Parser::fragment_selection(Location at) {
  if (is(TokenKind::Name) && !is_keyword("on")) {
    FragmentSpread spread;
    spread.at = at;
    spread.name_at = token_.at;
    spread.name = name();
    spread.directives = directives(Constancy::Variables);
    return {std::move(spread)};
  }
  InlineFragment fragment;
  fragment.at = at;
  if (take_keyword("on")) fragment.type_condition = located_name();
  fragment.directives = directives(Constancy::Variables);
  fragment.selections = selections();
  return {std::move(fragment)};
}

Field Parser::field() {
  count(fields_, limits_.fields_max, "fields");
  Field field;
  field.at = token_.at;
  field.name = name();
  if (take(":")) {
    count(aliases_, limits_.aliases_max, "aliases");
    field.alias = std::move(field.name);
    field.name = name();
  }
  field.arguments = arguments(Constancy::Variables);
  field.directives = directives(Constancy::Variables);
  field.selections_at = token_.at;
  if (is("{")) field.selections = selections();
  return field;
}

}  // namespace postern::graphql
