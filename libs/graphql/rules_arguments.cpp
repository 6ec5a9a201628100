// Rules about arguments and values (October 2021, §5.4, §5.6).
#include <algorithm>

#include "graphql/text.hpp"
#include "graphql/validation_rule.hpp"
#include "graphql/values.hpp"

namespace postern::graphql {
namespace {

/// §5.4.1
class KnownArgumentNames : public Rule {
 public:
  using Rule::Rule;
  void enter_arguments(const ArgumentsPlace& place) override {
    if (place.definitions == nullptr) return;
    for (const Argument& argument : place.given) {
      std::vector<std::string> names;
      for (const InputValue& known : *place.definitions) names.push_back(known.name);
      if (std::ranges::find(names, argument.name) != names.end()) continue;
      const std::string owner = place.directive != nullptr
                                    ? "directive \"@" + place.directive->name
                                    : "field \"" + place.place.parent->name + "." + place.field->name;
      context_.report("Unknown argument \"" + argument.name + "\" on " + owner + "\"." +
                          did_you_mean(suggestions(argument.name, names)),
                      {argument.at});
    }
  }
};

/// §5.4.2
class UniqueArgumentNames : public Rule {
 public:
  using Rule::Rule;
  void enter_arguments(const ArgumentsPlace& place) override {
    std::map<std::string_view, std::vector<Location>> places;
    for (const Argument& argument : place.given) places[argument.name].push_back(argument.at);
    for (auto& [name, locations] : places) {
      if (locations.size() < 2) continue;
      context_.report("There can be only one argument named \"" + std::string(name) + "\".", std::move(locations));
    }
  }
};

/// §5.4.2.1
class ProvidedRequiredArguments : public Rule {
 public:
  using Rule::Rule;
  void enter_arguments(const ArgumentsPlace& place) override {
    if (place.definitions == nullptr) return;
    for (const InputValue& definition : *place.definitions) {
      const bool is_given = std::ranges::find(place.given, definition.name, &Argument::name) != place.given.end();
      if (is_given || !definition.is_required()) continue;
      const std::string owner =
          place.directive != nullptr ? "Directive \"@" + place.directive->name : "Field \"" + place.field->name;
      context_.report(owner + "\" argument \"" + definition.name + "\" of type \"" +
                          definition.type.view().to_string() + "\" is required, but it was not provided.",
                      {place.directive != nullptr ? place.directive->at : place.field->at});
    }
  }
};

/// §5.6.1, §5.6.2, §5.6.4
class ValuesOfCorrectType : public Rule {
 public:
  using Rule::Rule;
  void enter_value(const Literal& literal, TypeView type) override {
    if (!type.is_known()) return;
    check_literal(literal, type,
                  [this](std::string message, Location at) { context_.report(std::move(message), {at}); });
  }
};

/// §5.6.3
class UniqueInputFieldNames : public Rule {
 public:
  using Rule::Rule;
  void enter_value(const Literal& literal, TypeView /*type*/) override { check(literal); }

 private:
  void check(const Literal& literal) {
    std::map<std::string_view, Location> names;
    for (const ObjectField& field : literal.fields) {
      const auto [known, is_new] = names.emplace(field.name, field.at);
      if (!is_new) {
        context_.report("There can be only one input field named \"" + field.name + "\".", {known->second, field.at});
      }
      check(field.value);
    }
    for (const Literal& item : literal.items) check(item);
  }
};

}  // namespace

void add_argument_rules(Rules& rules, ValidationContext& context) {
  rules.push_back(std::make_unique<KnownArgumentNames>(context));
  rules.push_back(std::make_unique<UniqueArgumentNames>(context));
  rules.push_back(std::make_unique<ProvidedRequiredArguments>(context));
  rules.push_back(std::make_unique<ValuesOfCorrectType>(context));
  rules.push_back(std::make_unique<UniqueInputFieldNames>(context));
}

}  // namespace postern::graphql
