#include "graphql/introspection.hpp"

#include "graphql/schema.hpp"
#include "graphql/text.hpp"

namespace postern::graphql {
namespace {

Resolved text_or_null(const std::string& text) {
  return text.empty() ? Resolved() : Resolved(text);
}

Resolved text_or_null(const std::optional<std::string>& text) {
  return text ? Resolved(*text) : Resolved();
}

Resolved type_of(TypeView type) {
  return type.is_known() ? Resolved::owned(type) : Resolved();
}

Resolved type_of(const Type* type) {
  return type_of(TypeView{type, {}});
}

template <typename Items>
Resolved borrowed_all(const Items& items) {
  std::vector<Resolved> all;
  for (const auto& item : items) all.push_back(Resolved::borrowed(item));
  return all;
}

Resolved types_of(const std::vector<const Type*>& types) {
  std::vector<Resolved> all;
  for (const Type* type : types) all.push_back(type_of(type));
  return all;
}

/// Deprecated ones only when they are asked for.
template <typename Items>
Resolved visible(const Items& items, const Arguments& arguments) {
  const bool with_deprecated = arguments.boolean("includeDeprecated").value_or(false);
  std::vector<Resolved> all;
  for (const auto& item : items) {
    if (with_deprecated || !item.deprecation) all.push_back(Resolved::borrowed(item));
  }
  return all;
}

std::string kind_of(TypeView type) {
  if (type.is_non_null()) return "NON_NULL";
  if (type.is_list()) return "LIST";
  return std::string(to_string(type.named->kind));
}

/// `function(const Source&, const Arguments&)` for a field of an introspection type.
template <typename Source, typename Function>
void add(Resolvers& all, std::string coordinate, Function function) {
  all.add(std::move(coordinate), [function](const Call& call) -> Resolved {
    const auto* source = call.source.ref.as<const Source>();
    if (source == nullptr) return Resolved::failed("This object does not belong to the schema.");
    return function(*source, call.arguments);
  });
}

/// For a field of `__Type` that only named types of one kind have; null for all other types.
template <typename Function>
void add_of_kind(Resolvers& all, std::string coordinate, bool (*has_it)(const Type&), Function function) {
  add<TypeView>(all, std::move(coordinate), [has_it, function](const TypeView& type, const Arguments& arguments) {
    return type.wrappers.empty() && has_it(*type.named) ? function(*type.named, arguments) : Resolved();
  });
}

void add_schema(Resolvers& all) {
  all.add(".__schema", [](const Call& call) { return Resolved::borrowed(call.schema); });
  all.add(".__type", [](const Call& call) { return type_of(call.schema.find(*call.arguments.text("name"))); });
  using Given = const Arguments&;
  add<Schema>(all, "__Schema.description",
              [](const Schema& schema, Given) { return text_or_null(schema.description()); });
  add<Schema>(all, "__Schema.types", [](const Schema& schema, Given) {
    std::vector<Resolved> types;
    for (const auto& type : schema.types()) types.push_back(type_of(type.get()));
    return Resolved(std::move(types));
  });
  const auto add_root = [&all](std::string coordinate, OperationKind kind) {
    add<Schema>(all, std::move(coordinate), [kind](const Schema& schema, Given) { return type_of(schema.root(kind)); });
  };
  add_root("__Schema.queryType", OperationKind::Query);
  add_root("__Schema.mutationType", OperationKind::Mutation);
  add_root("__Schema.subscriptionType", OperationKind::Subscription);
  add<Schema>(all, "__Schema.directives",
              [](const Schema& schema, Given) { return borrowed_all(schema.directives()); });
}

void add_types(Resolvers& all) {
  using Given = const Arguments&;
  const auto always = [](const Type&) { return true; };
  const auto has_fields = [](const Type& type) {
    return type.kind == TypeKind::Object || type.kind == TypeKind::Interface;
  };
  add<TypeView>(all, "__Type.kind", [](const TypeView& type, Given) { return Resolved(kind_of(type)); });
  add<TypeView>(all, "__Type.ofType",
                [](const TypeView& type, Given) { return type.wrappers.empty() ? Resolved() : type_of(type.inner()); });
  add_of_kind(all, "__Type.name", always, [](const Type& type, Given) { return text_or_null(type.name); });
  add_of_kind(all, "__Type.description", always,
              [](const Type& type, Given) { return text_or_null(type.description); });
  add_of_kind(all, "__Type.specifiedByURL", always,
              [](const Type& type, Given) { return text_or_null(type.specified_by); });
  add_of_kind(all, "__Type.fields", has_fields,
              [](const Type& type, Given arguments) { return visible(type.fields, arguments); });
  add_of_kind(all, "__Type.interfaces", has_fields, [](const Type& type, Given) { return types_of(type.interfaces); });
  add_of_kind(
      all, "__Type.possibleTypes", [](const Type& type) { return type.is_abstract(); },
      [](const Type& type, Given) { return types_of(type.possible); });
  add_of_kind(
      all, "__Type.enumValues", [](const Type& type) { return type.kind == TypeKind::Enum; },
      [](const Type& type, Given arguments) { return visible(type.values, arguments); });
  add_of_kind(
      all, "__Type.inputFields", [](const Type& type) { return type.kind == TypeKind::InputObject; },
      [](const Type& type, Given arguments) { return visible(type.input_fields, arguments); });
}

/// What fields, arguments and enum values have in common.
template <typename Source>
void add_named(Resolvers& all, const std::string& type) {
  using Given = const Arguments&;
  add<Source>(all, type + ".name", [](const Source& source, Given) { return text_or_null(source.name); });
  add<Source>(all, type + ".description", [](const Source& source, Given) { return text_or_null(source.description); });
  if constexpr (requires(const Source& source) { source.deprecation; }) {
    add<Source>(all, type + ".isDeprecated",
                [](const Source& source, Given) { return Resolved(source.deprecation.has_value()); });
    add<Source>(all, type + ".deprecationReason",
                [](const Source& source, Given) { return text_or_null(source.deprecation); });
  }
}

void add_members(Resolvers& all) {
  using Given = const Arguments&;
  add_named<OutputField>(all, "__Field");
  add<OutputField>(all, "__Field.args",
                   [](const OutputField& field, Given arguments) { return visible(field.arguments, arguments); });
  add<OutputField>(all, "__Field.type", [](const OutputField& field, Given) { return type_of(field.type.view()); });
  add_named<InputValue>(all, "__InputValue");
  add<InputValue>(all, "__InputValue.type", [](const InputValue& value, Given) { return type_of(value.type.view()); });
  add<InputValue>(all, "__InputValue.defaultValue", [](const InputValue& value, Given) {
    return value.default_literal ? Resolved(print(*value.default_literal)) : Resolved();
  });
  add_named<EnumValue>(all, "__EnumValue");
  add_named<DirectiveType>(all, "__Directive");
  add<DirectiveType>(all, "__Directive.isRepeatable",
                     [](const DirectiveType& directive, Given) { return Resolved(directive.is_repeatable); });
  add<DirectiveType>(all, "__Directive.locations", [](const DirectiveType& directive, Given) {
    std::vector<Resolved> locations;
    for (const std::string& location : directive.locations) locations.emplace_back(location);
    return Resolved(std::move(locations));
  });
  add<DirectiveType>(all, "__Directive.args", [](const DirectiveType& directive, Given arguments) {
    return visible(directive.arguments, arguments);
  });
}

Resolvers make() {
  Resolvers all;
  add_schema(all);
  add_types(all);
  add_members(all);
  return all;
}

}  // namespace

const Resolvers& introspection_resolvers() {
  static const Resolvers all = make();
  return all;
}

}  // namespace postern::graphql
