#include "graphql/schema.hpp"

#include <algorithm>

#include "graphql/text.hpp"

namespace postern::graphql {
namespace {

template <typename Items>
auto find_named(const Items& items, std::string_view name) -> decltype(items.data()) {
  const auto found = std::ranges::find(items, name, [](const auto& item) { return std::string_view(item.name); });
  return found == items.end() ? nullptr : &*found;
}

}  // namespace

std::string TypeView::to_string() const {
  return print(TypeReference{named == nullptr ? "" : named->name, {wrappers.begin(), wrappers.end()}, {}, {}});
}

const InputValue* OutputField::argument(std::string_view argument_name) const {
  return find_named(arguments, argument_name);
}

const InputValue* DirectiveType::argument(std::string_view argument_name) const {
  return find_named(arguments, argument_name);
}

bool DirectiveType::may_be_at(std::string_view location) const {
  return std::ranges::find(locations, location) != locations.end();
}

bool Type::implements(const Type& other) const {
  return std::ranges::find(interfaces, &other) != interfaces.end();
}

bool Type::may_be(const Type& object) const {
  return std::ranges::find(possible, &object) != possible.end();
}

const OutputField* Type::field(std::string_view field_name) const {
  return find_named(fields, field_name);
}

const InputValue* Type::input_field(std::string_view field_name) const {
  return find_named(input_fields, field_name);
}

bool Type::has_value(std::string_view value_name) const {
  return find_named(values, value_name) != nullptr;
}

const Type* Schema::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

const DirectiveType* Schema::find_directive(std::string_view name) const {
  return find_named(directives_, name);
}

const OutputField* Schema::field(const Type& parent, std::string_view name) const {
  if (!name.starts_with("__")) return parent.field(name);
  const bool is_allowed = name == "__typename" ? parent.is_composite() : &parent == root(OperationKind::Query);
  return is_allowed ? find_named(meta_fields_, name) : nullptr;
}

std::vector<std::string> Schema::fields_without_resolver() const {
  std::vector<std::string> names;
  for (const auto& type : types_) {
    if (type->kind != TypeKind::Object) continue;
    for (const OutputField& field : type->fields) {
      if (!field.resolve) names.push_back(type->name + "." + field.name);
    }
  }
  return names;
}

bool is_same(TypeView a, TypeView b) {
  return a.named == b.named && std::ranges::equal(a.wrappers, b.wrappers);
}

bool is_sub_type(TypeView type, TypeView super) {
  if (super.is_non_null()) return type.is_non_null() && is_sub_type(type.inner(), super.inner());
  if (type.is_non_null()) return is_sub_type(type.inner(), super);
  if (super.is_list() || type.is_list()) {
    return super.is_list() && type.is_list() && is_sub_type(type.inner(), super.inner());
  }
  if (type.named == super.named) return true;
  return type.named->implements(*super.named) ||
         (type.named->kind == TypeKind::Object && super.named->may_be(*type.named));
}

bool overlaps(const Type& a, const Type& b) {
  return &a == &b || std::ranges::any_of(a.possible, [&b](const Type* object) { return b.may_be(*object); });
}

}  // namespace postern::graphql
