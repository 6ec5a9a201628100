#include "graphql/printer.hpp"

#include <array>

#include "graphql/text.hpp"

namespace postern::graphql {
namespace {

constexpr std::string_view kIndentation = "  ";

std::string description(const std::string& text, std::string_view indentation = {}) {
  if (text.empty()) return {};
  return std::string(indentation) + print_block_string(text, indentation) + "\n";
}

std::string deprecation(const std::optional<std::string>& reason) {
  return reason ? " @deprecated(reason: " + print_string(*reason) + ")" : "";
}

std::string input_value(const InputValue& value) {
  std::string text = value.name + ": " + value.type.view().to_string();
  if (value.default_literal) text += " = " + print(*value.default_literal);
  return text + deprecation(value.deprecation);
}

/// In one line, unless one of them is described.
std::string arguments(const std::vector<InputValue>& values, const std::string& indentation) {
  if (values.empty()) return {};
  bool is_described = false;
  for (const InputValue& value : values) is_described = is_described || !value.description.empty();
  std::string text = "(";
  const std::string inside = indentation + std::string(kIndentation);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (is_described) {
      text += "\n" + description(values[i].description, inside) + inside;
    } else if (i > 0) {
      text += ", ";
    }
    text += input_value(values[i]);
  }
  return text + (is_described ? "\n" + indentation + ")" : ")");
}

std::string field(const OutputField& field) {
  const std::string indentation(kIndentation);
  return description(field.description, kIndentation) + indentation + field.name +
         arguments(field.arguments, indentation) + ": " + field.type.view().to_string() +
         deprecation(field.deprecation) + "\n";
}

std::string joined(const std::vector<const Type*>& types, std::string_view first, std::string_view between) {
  std::string text;
  for (const Type* type : types) text += std::string(text.empty() ? first : between) + type->name;
  return text;
}

std::string fields(const Type& type) {
  std::string text;
  for (const OutputField& one : type.fields) text += field(one);
  for (const InputValue& one : type.input_fields) {
    text += description(one.description, kIndentation) + std::string(kIndentation) + input_value(one) + "\n";
  }
  for (const EnumValue& one : type.values) {
    text += description(one.description, kIndentation) + std::string(kIndentation) + one.name +
            deprecation(one.deprecation) + "\n";
  }
  return " {\n" + text + "}\n";
}

std::string type_text(const Type& type) {
  const std::string head = description(type.description);
  switch (type.kind) {
    case TypeKind::Scalar:
      return head + "scalar " + type.name +
             (type.specified_by ? " @specifiedBy(url: " + print_string(*type.specified_by) + ")" : "") + "\n";
    case TypeKind::Object:
      return head + "type " + type.name + joined(type.interfaces, " implements ", " & ") + fields(type);
    case TypeKind::Interface:
      return head + "interface " + type.name + joined(type.interfaces, " implements ", " & ") + fields(type);
    case TypeKind::Union:
      return head + "union " + type.name + joined(type.members, " = ", " | ") + "\n";
    case TypeKind::Enum:
      return head + "enum " + type.name + fields(type);
    case TypeKind::InputObject:
      return head + "input " + type.name + fields(type);
  }
  return {};
}

std::string directive_text(const DirectiveType& directive) {
  std::string text = description(directive.description) + "directive @" + directive.name +
                     arguments(directive.arguments, "") + (directive.is_repeatable ? " repeatable" : "") + " on ";
  for (std::size_t i = 0; i < directive.locations.size(); ++i) {
    text += (i > 0 ? " | " : "") + directive.locations[i];
  }
  return text + "\n";
}

/// Empty where the names of the roots and no description say it already.
std::string schema_text(const Schema& schema) {
  constexpr std::array<std::pair<OperationKind, std::string_view>, 3> kRoots{
      {{OperationKind::Query, "Query"},
       {OperationKind::Mutation, "Mutation"},
       {OperationKind::Subscription, "Subscription"}}};
  bool is_usual = schema.description().empty();
  std::string text = description(schema.description()) + "schema {\n";
  for (const auto& [kind, usual] : kRoots) {
    const Type* root = schema.root(kind);
    is_usual = is_usual && (root == nullptr ? schema.find(usual) == nullptr : root->name == usual);
    if (root != nullptr) text += std::string(kIndentation) + std::string(to_string(kind)) + ": " + root->name + "\n";
  }
  return is_usual ? "" : text + "}\n";
}

}  // namespace

std::string print_schema(const Schema& schema) {
  std::string text = schema_text(schema);
  const auto add = [&text](const std::string& definition) { text += (text.empty() ? "" : "\n") + definition; };
  for (const DirectiveType& directive : schema.directives()) {
    if (!directive.is_built_in) add(directive_text(directive));
  }
  for (const auto& type : schema.types()) {
    if (!type->is_built_in) add(type_text(*type));
  }
  return text;
}

}  // namespace postern::graphql
