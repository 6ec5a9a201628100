// Directives in type systems (§3.13): what @deprecated and @specifiedBy say, and whether all of them may be there.
#include <algorithm>

#include "graphql/schema_builder.hpp"
#include "graphql/values.hpp"

namespace postern::graphql {
namespace {

constexpr std::string_view kNoReason = "No longer supported";

const Directive* find_directive(const std::vector<Directive>& directives, std::string_view name) {
  const auto found =
      std::ranges::find(directives, name, [](const Directive& one) { return std::string_view(one.name); });
  return found == directives.end() ? nullptr : &*found;
}

const Argument* find_argument(const Directive& directive, std::string_view name) {
  const auto found =
      std::ranges::find(directive.arguments, name, [](const Argument& one) { return std::string_view(one.name); });
  return found == directive.arguments.end() ? nullptr : &*found;
}

}  // namespace

std::optional<std::string> SchemaBuilder::deprecation(const std::vector<Directive>& directives) const {
  const Directive* directive = find_directive(directives, "deprecated");
  if (directive == nullptr) return std::nullopt;
  const Argument* reason = find_argument(*directive, "reason");
  return reason == nullptr ? std::string(kNoReason) : reason->value.text;
}

std::optional<std::string> SchemaBuilder::specified_by(const std::vector<Directive>& directives) const {
  const Directive* directive = find_directive(directives, "specifiedBy");
  const Argument* url = directive == nullptr ? nullptr : find_argument(*directive, "url");
  return url == nullptr ? std::nullopt : std::optional(url->value.text);
}

void SchemaBuilder::check_directives() {
  if (definition_) check_directives(definition_->directives, "SCHEMA");
  for (const SchemaDefinition& extension : schema_extensions_) check_directives(extension.directives, "SCHEMA");
  for (const Gathered& gathered : types_) check_directives(gathered.definition);
  for (const auto& [definition, origin] : directives_) {
    for (const InputValueDefinition& argument : definition.arguments) {
      check_directives(argument.directives, "ARGUMENT_DEFINITION");
    }
  }
}

void SchemaBuilder::check_directives(const TypeDefinition& definition) {
  check_directives(definition.directives, to_string(definition.kind));
  for (const FieldDefinition& field : definition.fields) {
    check_directives(field.directives, "FIELD_DEFINITION");
    for (const InputValueDefinition& argument : field.arguments) {
      check_directives(argument.directives, "ARGUMENT_DEFINITION");
    }
  }
  for (const InputValueDefinition& field : definition.input_fields) {
    check_directives(field.directives, "INPUT_FIELD_DEFINITION");
  }
  for (const EnumValueDefinition& value : definition.values) check_directives(value.directives, "ENUM_VALUE");
}

void SchemaBuilder::check_directives(const std::vector<Directive>& directives, std::string_view location) {
  for (const Directive& directive : directives) {
    const DirectiveType* type = schema_.find_directive(directive.name);
    const std::string name = "\"@" + directive.name + "\"";
    if (type == nullptr) {
      report("Unknown directive " + name + ".", directive.at);
      continue;
    }
    if (!type->may_be_at(location)) {
      report("Directive " + name + " may not be used on " + std::string(location) + ".", directive.at);
    }
    if (!type->is_repeatable && find_directive(directives, directive.name) != &directive) {
      report("The directive " + name + " can only be used once at this location.", directive.at);
    }
    check_arguments(directive, *type);
  }
}

void SchemaBuilder::check_arguments(const Directive& directive, const DirectiveType& type) {
  const std::string name = "directive \"@" + directive.name + "\"";
  for (const Argument& argument : directive.arguments) {
    const InputValue* definition = type.argument(argument.name);
    if (definition == nullptr) {
      report("Unknown argument \"" + argument.name + "\" on " + name + ".", argument.at);
      continue;
    }
    if (find_argument(directive, argument.name) != &argument) {
      report("There can be only one argument named \"" + argument.name + "\".", argument.at);
    }
    check_literal(argument.value, definition->type.view(),
                  [this](std::string message, Location at) { report(std::move(message), at); });
  }
  for (const InputValue& definition : type.arguments) {
    if (!definition.is_required() || find_argument(directive, definition.name) != nullptr) continue;
    report("Directive \"@" + directive.name + "\" argument \"" + definition.name + "\" of type \"" +
               definition.type.view().to_string() + "\" is required, but it was not provided.",
           directive.at);
  }
}

}  // namespace postern::graphql
