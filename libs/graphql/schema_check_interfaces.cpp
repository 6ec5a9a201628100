// Whether objects and interfaces are what their interfaces promise (§3.6.1, IsValidImplementation).
#include <algorithm>
#include <set>

#include "graphql/schema_builder.hpp"

namespace postern::graphql {

void SchemaBuilder::check_interfaces(const Type& type) {
  std::set<const Type*> seen;
  for (const Type* interface : type.interfaces) {
    const std::string subject = "Type " + type.name;
    if (interface->kind != TypeKind::Interface) {
      report(subject + " must only implement Interface types, it cannot implement " + interface->name + ".", type.at);
    } else if (interface == &type) {
      report(subject + " cannot implement itself because it would create a circular reference.", type.at);
    } else if (!seen.insert(interface).second) {
      report(subject + " can only implement " + interface->name + " once.", type.at);
    } else {
      check_implements(type, *interface);
    }
  }
}

void SchemaBuilder::check_implements(const Type& type, const Type& interface) {
  for (const Type* above : interface.interfaces) {
    if (above == &type) {
      report("Type " + type.name + " cannot implement " + interface.name +
                 " because it would create a circular reference.",
             type.at);
    } else if (!type.implements(*above)) {
      report("Type " + type.name + " must implement " + above->name + " because it is implemented by " +
                 interface.name + ".",
             type.at);
    }
  }
  for (const OutputField& expected : interface.fields) {
    if (const OutputField* field = type.field(expected.name)) {
      check_field(type, *field, interface, expected);
    } else {
      report("Interface field " + interface.name + "." + expected.name + " expected but " + type.name +
                 " does not provide it.",
             type.at);
    }
  }
}

void SchemaBuilder::check_field(const Type& type, const OutputField& field, const Type& interface,
                                const OutputField& expected) {
  const std::string name = type.name + "." + field.name;
  const std::string promised = interface.name + "." + expected.name;
  if (!is_sub_type(field.type.view(), expected.type.view())) {
    report("Interface field " + promised + " expects type " + expected.type.view().to_string() + " but " + name +
               " is type " + field.type.view().to_string() + ".",
           field.at);
  }
  for (const InputValue& argument : expected.arguments) {
    const std::string argument_name = "(" + argument.name + ":)";
    const InputValue* own = field.argument(argument.name);
    if (own == nullptr) {
      report("Interface field argument " + promised + argument_name + " expected but " + name + " does not provide it.",
             field.at);
    } else if (!is_same(own->type.view(), argument.type.view())) {
      report("Interface field argument " + promised + argument_name + " expects type " +
                 argument.type.view().to_string() + " but " + name + argument_name + " is type " +
                 own->type.view().to_string() + ".",
             own->at);
    }
  }
  for (const InputValue& argument : field.arguments) {
    if (expected.argument(argument.name) != nullptr || !argument.is_required()) continue;
    report("Object field " + name + " includes required argument " + argument.name +
               " that is missing from the Interface field " + promised + ".",
           argument.at);
  }
}

}  // namespace postern::graphql
