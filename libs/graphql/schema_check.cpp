// Whether the types of a schema hold together (§3.3 to §3.11, "Type Validation").
#include <algorithm>

#include "graphql/schema_builder.hpp"

namespace postern::graphql {
namespace {

/// `twice(name)` for each name that comes again.
template <typename Items, typename Name, typename Twice>
void find_repeated(const Items& items, Name name_of, Twice twice) {
  std::set<std::string> names;
  for (const auto& item : items) {
    if (!names.insert(name_of(item)).second) twice(item);
  }
}

constexpr auto kName = [](const auto& item) { return item.name; };

}  // namespace

void SchemaBuilder::check() {
  check_roots();
  for (const auto& type : schema_.types_) {
    if (!type->is_built_in) check_type(*type);
  }
  for (const DirectiveType& directive : schema_.directives_) {
    check_name(directive.name, directive.at);
    check_inputs(directive.arguments, "@" + directive.name + "(", ":)");
  }
  check_cycles();
  check_directives();
}

void SchemaBuilder::check_roots() {
  for (const OperationKind kind : {OperationKind::Query, OperationKind::Mutation, OperationKind::Subscription}) {
    const Type* root = schema_.root(kind);
    std::string name(to_string(kind));
    name.front() = static_cast<char>(name.front() - 'a' + 'A');
    if (root == nullptr && kind == OperationKind::Query) report("Query root type must be provided.");
    if (root == nullptr || root->kind == TypeKind::Object) continue;
    report(name + " root type must be Object type, it cannot be " + root->name + ".", root->at);
  }
  const auto& roots = schema_.roots_;
  const bool is_shared = roots[0] == roots[1] || roots[0] == roots[2] || (roots[1] != nullptr && roots[1] == roots[2]);
  if (roots[0] != nullptr && is_shared) report("All root types must be different.", roots[0]->at);
}

void SchemaBuilder::check_name(const std::string& name, Location at) {
  if (!name.starts_with("__")) return;
  report("Name \"" + name + "\" must not begin with \"__\", which is reserved by GraphQL introspection.", at);
}

void SchemaBuilder::check_type(const Type& type) {
  check_name(type.name, type.at);
  switch (type.kind) {
    case TypeKind::Scalar:
      return;
    case TypeKind::Object:
    case TypeKind::Interface:
      check_fields(type);
      return check_interfaces(type);
    case TypeKind::Union:
      return check_members(type);
    case TypeKind::Enum:
      if (type.values.empty()) report("Enum type " + type.name + " must define one or more values.", type.at);
      return find_repeated(type.values, kName, [&](const EnumValue& value) {
        report("Enum value \"" + type.name + "." + value.name + "\" can only be defined once.", type.at);
      });
    case TypeKind::InputObject:
      if (type.input_fields.empty()) {
        report("Input Object type " + type.name + " must define one or more fields.", type.at);
      }
      return check_inputs(type.input_fields, type.name + ".", "");
  }
}

void SchemaBuilder::check_fields(const Type& type) {
  if (type.fields.empty()) report("Type " + type.name + " must define one or more fields.", type.at);
  find_repeated(type.fields, kName, [&](const OutputField& field) {
    report("Field \"" + type.name + "." + field.name + "\" can only be defined once.", field.at);
  });
  for (const OutputField& field : type.fields) {
    const std::string coordinate = type.name + "." + field.name;
    check_name(field.name, field.at);
    if (!field.type.named->is_output()) {
      report("The type of " + coordinate + " must be Output Type but got: " + field.type.view().to_string() + ".",
             field.at);
    }
    check_inputs(field.arguments, coordinate + "(", ":)");
  }
}

void SchemaBuilder::check_inputs(const std::vector<InputValue>& values, const std::string& prefix,
                                 const std::string& suffix) {
  find_repeated(values, kName, [&](const InputValue& value) {
    const std::string what = suffix.empty() ? "Field" : "Argument";
    report(what + " \"" + prefix + value.name + suffix + "\" can only be defined once.", value.at);
  });
  for (const InputValue& value : values) {
    const std::string coordinate = prefix + value.name + suffix;
    check_name(value.name, value.at);
    if (!value.type.named->is_input()) {
      report("The type of " + coordinate + " must be Input Type but got: " + value.type.view().to_string() + ".",
             value.at);
    } else if (value.deprecation && value.is_required()) {
      const std::string what = suffix.empty() ? "input field " : "argument ";
      report("Required " + what + coordinate + " cannot be deprecated.", value.at);
    }
  }
}

void SchemaBuilder::check_members(const Type& type) {
  if (type.members.empty()) report("Union type " + type.name + " must define one or more member types.", type.at);
  find_repeated(
      type.members, [](const Type* member) { return member->name; },
      [&](const Type* member) {
        report("Union type " + type.name + " can only include type " + member->name + " once.", type.at);
      });
  for (const Type* member : type.members) {
    if (member->kind == TypeKind::Object) continue;
    report("Union type " + type.name + " can only include Object types, it cannot include " + member->name + ".",
           type.at);
  }
}

void SchemaBuilder::check_cycles() {
  std::set<const Type*> done;
  std::vector<const InputValue*> way;
  for (const auto& type : schema_.types_) check_cycles(*type, way, done);
}

/// A non-null input object inside itself could never be written down (§3.10).
void SchemaBuilder::check_cycles(const Type& type, std::vector<const InputValue*>& way, std::set<const Type*>& done) {
  if (!done.insert(&type).second) return;
  for (const InputValue& field : type.input_fields) {
    const TypeView inside = field.type.view();
    const bool is_part =
        inside.is_non_null() && inside.wrappers.size() == 1 && inside.named->kind == TypeKind::InputObject;
    if (!is_part) continue;
    way.push_back(&field);
    // The fields on the way are of the types before them: a type that is met again began where its field stands.
    const auto begin = std::ranges::find_if(
        way, [&](const InputValue* step) { return inside.named->input_field(step->name) == step; });
    if (begin == way.end()) {
      check_cycles(*inside.named, way, done);
    } else {
      std::string names;
      for (auto step = begin; step != way.end(); ++step) names += (names.empty() ? "" : ".") + (*step)->name;
      report("Cannot reference Input Object \"" + inside.named->name +
                 "\" within itself through a series of non-null fields: \"" + names + "\".",
             field.at);
    }
    way.pop_back();
  }
}

}  // namespace postern::graphql
