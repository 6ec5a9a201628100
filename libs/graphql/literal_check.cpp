// What is wrong with a literal in its position: for operations (§5.6.1 to §5.6.4) and for the defaults and directives
// of type systems.
#include <algorithm>

#include "graphql/scalars.hpp"
#include "graphql/text.hpp"
#include "graphql/values.hpp"

namespace postern::graphql {
namespace {

std::string expected(TypeView type, const Literal& literal) {
  return "Expected value of type \"" + type.to_string() + "\", found " + print(literal);
}

void check_leaf(const Literal& literal, TypeView type, const LiteralProblem& report) {
  if (!type.named->is_leaf()) return report(expected(type, literal) + ".", literal.at);
  const auto leaf = parse_leaf(*type.named, literal, nullptr);
  if (leaf) return;
  const LeafError& error = leaf.error();
  report(error.is_sentence ? error.message : expected(type, literal) + "; " + error.message, literal.at);
}

void check_object(const Literal& literal, const Type& type, const LiteralProblem& report) {
  for (const InputValue& definition : type.input_fields) {
    const bool is_given =
        std::ranges::find(literal.fields, definition.name, &ObjectField::name) != literal.fields.end();
    if (is_given || !definition.is_required()) continue;
    report("Field \"" + type.name + "." + definition.name + "\" of required type \"" +
               definition.type.view().to_string() + "\" was not provided.",
           literal.at);
  }
  for (const ObjectField& field : literal.fields) {
    if (const InputValue* definition = type.input_field(field.name)) {
      check_literal(field.value, definition->type.view(), report);
      continue;
    }
    std::vector<std::string> names;
    for (const InputValue& known : type.input_fields) names.push_back(known.name);
    report("Field \"" + field.name + "\" is not defined by type \"" + type.name + "\"." +
               did_you_mean(suggestions(field.name, names)),
           field.at);
  }
}

}  // namespace

void check_literal(const Literal& literal, TypeView type, const LiteralProblem& report) {
  switch (literal.kind) {
    case Literal::Kind::Variable:
      return;
    case Literal::Kind::Null:
      if (type.is_non_null()) report(expected(type, literal) + ".", literal.at);
      return;
    case Literal::Kind::List:
      if (!type.nullable().is_list()) return check_leaf(literal, type.nullable(), report);
      for (const Literal& item : literal.items) check_literal(item, type.nullable().inner(), report);
      return;
    case Literal::Kind::Object:
      if (type.named->kind != TypeKind::InputObject) return check_leaf(literal, type, report);
      return check_object(literal, *type.named, report);
    default:
      check_leaf(literal, type, report);
  }
}

}  // namespace postern::graphql
