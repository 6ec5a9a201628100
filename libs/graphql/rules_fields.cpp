// Rules about fields and their selections (October 2021, §5.3.1, §5.3.3).
#include <algorithm>

#include "graphql/text.hpp"
#include "graphql/validation_rule.hpp"

namespace postern::graphql {
namespace {

/// Objects of an abstract type that have the field, and their interfaces that have it: the most used first, and what is
/// more general before what is more special.
std::vector<std::string> types_with_field(const Type& type, std::string_view field) {
  if (!type.is_abstract()) return {};
  std::vector<std::pair<const Type*, std::size_t>> counted;
  const auto count = [&](const Type* one) {
    if (one->field(field) == nullptr) return;
    const auto known = std::ranges::find(counted, one, &std::pair<const Type*, std::size_t>::first);
    if (known == counted.end()) {
      counted.emplace_back(one, 1);
    } else {
      ++known->second;
    }
  };
  for (const Type* object : type.possible) {
    if (object->field(field) == nullptr) continue;
    count(object);
    for (const Type* interface : object->interfaces) count(interface);
  }
  std::ranges::stable_sort(counted, [](const auto& a, const auto& b) {
    if (a.second != b.second) return a.second > b.second;
    if (b.first->implements(*a.first)) return true;
    if (a.first->implements(*b.first)) return false;
    return is_naturally_less(a.first->name, b.first->name);
  });
  std::vector<std::string> names;
  for (const auto& [one, uses] : counted) names.push_back(one->name);
  return names;
}

/// §5.3.1
class FieldsOnCorrectType : public Rule {
 public:
  using Rule::Rule;
  void enter_field(const Field& field, const FieldPlace& place) override {
    if (place.parent == nullptr || place.definition != nullptr) return;
    std::string hint = did_you_mean(types_with_field(*place.parent, field.name), "to use an inline fragment on");
    if (hint.empty()) {
      std::vector<std::string> names;
      for (const OutputField& known : place.parent->fields) names.push_back(known.name);
      hint = did_you_mean(suggestions(field.name, names));
    }
    context_.report("Cannot query field \"" + field.name + "\" on type \"" + place.parent->name + "\"." + hint,
                    {field.at});
  }
};

/// §5.3.3
class ScalarLeafs : public Rule {
 public:
  using Rule::Rule;
  void enter_field(const Field& field, const FieldPlace& place) override {
    if (place.definition == nullptr) return;
    const TypeView type = place.definition->type.view();
    const std::string subject = "Field \"" + field.name + "\"";
    if (type.named->is_leaf() && !field.selections.empty()) {
      context_.report(subject + " must not have a selection since type \"" + type.to_string() + "\" has no subfields.",
                      {field.selections_at});
    } else if (!type.named->is_leaf() && field.selections.empty()) {
      context_.report(subject + " of type \"" + type.to_string() +
                          "\" must have a selection of subfields. Did you mean \"" + field.name + " { ... }\"?",
                      {field.at});
    }
  }
};

}  // namespace

void add_field_rules(Rules& rules, ValidationContext& context) {
  rules.push_back(std::make_unique<FieldsOnCorrectType>(context));
  rules.push_back(std::make_unique<ScalarLeafs>(context));
}

}  // namespace postern::graphql
