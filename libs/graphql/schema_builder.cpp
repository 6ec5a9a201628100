#include "graphql/schema_builder.hpp"

#include <algorithm>
#include <array>
#include <iterator>

#include "graphql/builtin.hpp"
#include "graphql/introspection.hpp"
#include "graphql/parser.hpp"
#include "graphql/values.hpp"

namespace postern::graphql {
namespace {

bool has_object(const Literal& literal) {
  return literal.is(Literal::Kind::Object) || std::ranges::any_of(literal.items, has_object);
}

}  // namespace

std::expected<Schema, std::vector<Error>> build_schema(std::string_view sdl, const Resolvers& resolvers) {
  return SchemaBuilder().build(sdl, resolvers);
}

std::expected<Schema, std::vector<Error>> SchemaBuilder::build(std::string_view sdl, const Resolvers& resolvers) {
  auto text = parse(sdl, kTrustedText);
  if (!text) return std::unexpected(std::vector{std::move(text.error())});
  auto built_in = parse(kBuiltInTypes, kTrustedText);
  if (!built_in) return std::unexpected(std::vector{std::move(built_in.error())});
  gather(std::move(*text), Origin::Text);
  gather(std::move(*built_in), Origin::BuiltIn);
  for (TypeDefinition& extension : extensions_) extend(std::move(extension));
  declare_types();
  for (const auto& [definition, origin] : directives_) define_directive(definition);
  for (const Gathered& gathered : types_) {
    define_type(*schema_.by_name_.find(gathered.definition.name)->second, gathered.definition);
  }
  choose_roots();
  find_possible_types();
  // What follows looks behind references; without them it would only repeat what is known.
  if (errors_.empty()) check();
  if (errors_.empty()) settle_defaults();
  if (errors_.empty()) {
    add_meta_fields();
    drop_unused_scalars();
    attach(resolvers);
    attach(introspection_resolvers());
  }
  if (!errors_.empty()) return std::unexpected(std::move(errors_));
  return std::move(schema_);
}

void SchemaBuilder::report(std::string message, Location at) {
  Error error{std::move(message)};
  if (at.line > 0) error.locations.push_back(at);
  errors_.push_back(std::move(error));
}

// --- gathering -------------------------------------------------------------------------------------------------------

void SchemaBuilder::gather(Document document, Origin origin) {
  for (Definition& definition : document.definitions) {
    if (auto* type = std::get_if<TypeDefinition>(&definition)) {
      gather_type(std::move(*type), origin);
    } else if (auto* directive = std::get_if<DirectiveDefinition>(&definition)) {
      gather_directive(std::move(*directive), origin);
    } else if (auto* schema = std::get_if<SchemaDefinition>(&definition)) {
      gather_schema(std::move(*schema));
    } else if (const auto* operation = std::get_if<Operation>(&definition)) {
      report("A type system has no operations.", operation->at);
    } else {
      report("A type system has no fragments.", std::get<Fragment>(definition).at);
    }
  }
}

void SchemaBuilder::gather_type(TypeDefinition definition, Origin origin) {
  if (definition.is_extension) return extensions_.push_back(std::move(definition));
  if (origin == Origin::BuiltIn) definition.at = {};
  if (!places_.emplace(definition.name, types_.size()).second) {
    return report("There can be only one type named \"" + definition.name + "\".", definition.at);
  }
  types_.push_back({std::move(definition), origin});
}

void SchemaBuilder::gather_schema(SchemaDefinition definition) {
  if (definition.is_extension) return schema_extensions_.push_back(std::move(definition));
  if (definition_) return report("Must provide only one schema definition.", definition.at);
  definition_ = std::move(definition);
}

void SchemaBuilder::gather_directive(DirectiveDefinition definition, Origin origin) {
  const auto same = std::ranges::find(directives_, definition.name, [](const auto& known) { return known.first.name; });
  // A text may say again what the specification has.
  if (same != directives_.end() && origin == Origin::BuiltIn) return;
  if (same != directives_.end()) {
    return report("There can be only one directive named \"@" + definition.name + "\".", definition.at);
  }
  directives_.emplace_back(std::move(definition), origin);
}

void SchemaBuilder::extend(TypeDefinition extension) {
  const auto place = places_.find(extension.name);
  if (place == places_.end()) {
    return report("Cannot extend type \"" + extension.name + "\" because it is not defined.", extension.at);
  }
  TypeDefinition& type = types_[place->second].definition;
  if (type.kind != extension.kind) {
    return report("Cannot extend type \"" + extension.name + "\" as another kind than it is.", extension.at);
  }
  const auto append = [](auto& all, auto& more) { std::ranges::move(more, std::back_inserter(all)); };
  append(type.interfaces, extension.interfaces);
  append(type.directives, extension.directives);
  append(type.fields, extension.fields);
  append(type.input_fields, extension.input_fields);
  append(type.values, extension.values);
  append(type.members, extension.members);
}

// --- joining ---------------------------------------------------------------------------------------------------------

void SchemaBuilder::declare_types() {
  for (const Gathered& gathered : types_) {
    auto type = std::make_unique<Type>();
    type->kind = gathered.definition.kind;
    type->name = gathered.definition.name;
    type->description = gathered.definition.description;
    type->at = gathered.definition.at;
    type->is_built_in = gathered.origin == Origin::BuiltIn;
    schema_.by_name_.emplace(type->name, type.get());
    schema_.types_.push_back(std::move(type));
  }
}

const Type* SchemaBuilder::known_type(std::string_view name, Location at) {
  const Type* type = schema_.find(name);
  if (type == nullptr) report("Unknown type \"" + std::string(name) + "\".", at);
  return type;
}

TypeRef SchemaBuilder::reference(const TypeReference& reference) {
  return {known_type(reference.name, reference.at), reference.wrappers};
}

InputValue SchemaBuilder::input_value(const InputValueDefinition& definition) {
  InputValue value;
  value.name = definition.name;
  value.description = definition.description;
  value.type = reference(definition.type);
  value.default_literal = definition.default_value;
  value.deprecation = deprecation(definition.directives);
  value.at = definition.at;
  return value;
}

std::vector<InputValue> SchemaBuilder::input_values(const std::vector<InputValueDefinition>& definitions) {
  std::vector<InputValue> values;
  for (const InputValueDefinition& definition : definitions) values.push_back(input_value(definition));
  return values;
}

OutputField SchemaBuilder::output_field(const FieldDefinition& definition) {
  OutputField field;
  field.name = definition.name;
  field.description = definition.description;
  field.arguments = input_values(definition.arguments);
  field.type = reference(definition.type);
  field.deprecation = deprecation(definition.directives);
  field.at = definition.at;
  return field;
}

void SchemaBuilder::define_directive(const DirectiveDefinition& definition) {
  DirectiveType directive;
  directive.name = definition.name;
  directive.description = definition.description;
  directive.arguments = input_values(definition.arguments);
  directive.is_repeatable = definition.is_repeatable;
  constexpr std::array<std::string_view, 4> kBuiltIn{"include", "skip", "deprecated", "specifiedBy"};
  directive.is_built_in = std::ranges::find(kBuiltIn, definition.name) != kBuiltIn.end();
  directive.locations = definition.locations;
  directive.at = definition.at;
  schema_.directives_.push_back(std::move(directive));
}

void SchemaBuilder::define_type(Type& type, const TypeDefinition& definition) {
  for (const Name& name : definition.interfaces) {
    if (const Type* interface = known_type(name.text, name.at)) type.interfaces.push_back(interface);
  }
  for (const FieldDefinition& field : definition.fields) type.fields.push_back(output_field(field));
  type.input_fields = input_values(definition.input_fields);
  for (const EnumValueDefinition& value : definition.values) {
    type.values.push_back({value.name, value.description, deprecation(value.directives)});
  }
  for (const Name& name : definition.members) {
    if (const Type* member = known_type(name.text, name.at)) type.members.push_back(member);
  }
  type.specified_by = specified_by(definition.directives);
}

void SchemaBuilder::choose_roots() {
  const auto set = [this](const RootDefinition& root) {
    const Type*& place = schema_.roots_[static_cast<std::size_t>(root.kind)];
    if (place != nullptr) {
      report("There can be only one " + std::string(to_string(root.kind)) + " type in schema.", root.type.at);
    }
    place = known_type(root.type.text, root.type.at);
  };
  if (definition_) {
    schema_.description_ = definition_->description;
    for (const RootDefinition& root : definition_->roots) set(root);
  } else {
    schema_.roots_[0] = schema_.find("Query");
    schema_.roots_[1] = schema_.find("Mutation");
    schema_.roots_[2] = schema_.find("Subscription");
  }
  for (const SchemaDefinition& extension : schema_extensions_) {
    for (const RootDefinition& root : extension.roots) set(root);
  }
}

void SchemaBuilder::add_meta_fields() {
  const auto add = [this](std::string name, std::string_view type, std::vector<Wrapper> wrappers) -> OutputField& {
    OutputField& field = schema_.meta_fields_.emplace_back();
    field.name = std::move(name);
    field.type = {schema_.find(type), std::move(wrappers)};
    return field;
  };
  add("__typename", "String", {Wrapper::NonNull});
  add("__schema", "__Schema", {Wrapper::NonNull});
  InputValue& name = add("__type", "__Type", {}).arguments.emplace_back();
  name.name = "name";
  name.type = {schema_.find("String"), {Wrapper::NonNull}};
}

void SchemaBuilder::find_possible_types() {
  for (const auto& type : schema_.types_) {
    if (type->kind == TypeKind::Union) type->possible = type->members;
    if (type->kind != TypeKind::Object) continue;
    type->possible.push_back(type.get());
    for (const Type* interface : type->interfaces) {
      schema_.by_name_.find(interface->name)->second->possible.push_back(type.get());
    }
  }
}

void SchemaBuilder::drop_unused_scalars() {
  std::set<const Type*> used;
  const auto use = [&used](const std::vector<InputValue>& values) {
    for (const InputValue& value : values) used.insert(value.type.named);
  };
  for (const auto& type : schema_.types_) {
    use(type->input_fields);
    for (const OutputField& field : type->fields) {
      used.insert(field.type.named);
      use(field.arguments);
    }
  }
  for (const DirectiveType& directive : schema_.directives_) use(directive.arguments);
  std::erase_if(schema_.types_, [&](const auto& type) {
    const bool is_unused = type->is_built_in && type->kind == TypeKind::Scalar && !used.contains(type.get());
    if (is_unused) schema_.by_name_.erase(type->name);
    return is_unused;
  });
}

void SchemaBuilder::attach(const Resolvers& resolvers) {
  for (const auto& [coordinate, resolver] : resolvers.fields()) {
    const std::size_t point = std::min(coordinate.find('.'), coordinate.size());
    const auto type = schema_.by_name_.find(coordinate.substr(0, point));
    const std::string name = coordinate.substr(std::min(point + 1, coordinate.size()));
    const bool is_object = type != schema_.by_name_.end() && type->second->kind == TypeKind::Object;
    auto& fields = is_object ? type->second->fields : schema_.meta_fields_;
    const bool is_meta = !is_object && point == 0;
    const auto field = std::ranges::find(fields, name, &OutputField::name);
    if ((!is_object && !is_meta) || field == fields.end()) {
      report("A resolver is registered for " + coordinate + ", which is no field of an object type.");
      continue;
    }
    field->resolve = resolver;
  }
  for (const auto& [name, codec] : resolvers.scalars()) {
    const auto type = schema_.by_name_.find(name);
    if (type == schema_.by_name_.end() || type->second->kind != TypeKind::Scalar || type->second->is_built_in) {
      report("A codec is registered for " + name + ", which is no custom scalar type.");
      continue;
    }
    type->second->codec = codec;
  }
}

// --- defaults --------------------------------------------------------------------------------------------------------

void SchemaBuilder::settle_defaults() {
  for (const auto& type : schema_.types_) {
    if (type->kind == TypeKind::InputObject && !settled_.contains(type.get())) settle_defaults(*type);
  }
  for (const auto& type : schema_.types_) {
    for (OutputField& field : type->fields) {
      for (InputValue& value : field.arguments) settle(value, type->name + "." + field.name + "(" + value.name + ":)");
    }
  }
  for (DirectiveType& directive : schema_.directives_) {
    for (InputValue& value : directive.arguments) settle(value, "@" + directive.name + "(" + value.name + ":)");
  }
}

/// The defaults of an object's fields go into the default of what has its type, so they come first.
void SchemaBuilder::settle_defaults(Type& type) {
  settled_[&type] = Settling::Running;
  for (InputValue& value : type.input_fields) {
    const std::string coordinate = type.name + "." + value.name;
    if (value.default_literal && has_object(*value.default_literal) &&
        value.type.named->kind == TypeKind::InputObject) {
      const auto settled = settled_.find(value.type.named);
      if (settled == settled_.end()) {
        settle_defaults(*schema_.by_name_.find(value.type.named->name)->second);
      } else if (settled->second == Settling::Running) {
        report("The default value of " + coordinate + " contains itself.", value.at);
        continue;
      }
    }
    settle(value, coordinate);
  }
  settled_[&type] = Settling::Done;
}

void SchemaBuilder::settle(InputValue& value, const std::string& coordinate) {
  if (!value.default_literal || value.default_value) return;
  const std::size_t before = errors_.size();
  check_literal(*value.default_literal, value.type.view(), [&](const std::string& message, Location at) {
    report("The default value of " + coordinate + " is invalid: " + message, at);
  });
  if (errors_.size() > before) return;
  value.default_value = coerce_literal(*value.default_literal, value.type.view(), nullptr);
}

}  // namespace postern::graphql
