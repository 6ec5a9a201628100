// Rules about variables (October 2021, §5.8).
#include "graphql/text.hpp"
#include "graphql/validation_rule.hpp"

namespace postern::graphql {
namespace {

/// §5.8.1
class UniqueVariableNames : public Rule {
 public:
  using Rule::Rule;
  void enter_operation(const Operation& operation) override {
    std::map<std::string_view, std::vector<Location>> places;
    for (const VariableDefinition& variable : operation.variables) places[variable.name].push_back(variable.name_at);
    for (auto& [name, locations] : places) {
      if (locations.size() < 2) continue;
      context_.report("There can be only one variable named \"$" + std::string(name) + "\".", std::move(locations));
    }
  }
};

/// §5.8.2
class VariablesAreInputTypes : public Rule {
 public:
  using Rule::Rule;
  void enter_variable(const VariableDefinition& variable) override {
    const Type* type = context_.schema().find(variable.type.name);
    if (type == nullptr || type->is_input()) return;
    context_.report("Variable \"$" + variable.name + "\" cannot be non-input type \"" + print(variable.type) + "\".",
                    {variable.type.at});
  }
};

/// §5.8.3
class NoUndefinedVariables : public Rule {
 public:
  using Rule::Rule;
  void finish() override {
    for (const Operation* operation : context_.operations()) {
      std::set<std::string_view> defined;
      for (const VariableDefinition& variable : operation->variables) defined.insert(variable.name);
      for (const Uses* uses : context_.reachable_uses(*operation)) {
        for (const VariableUse& use : uses->variables) {
          if (!defined.contains(use.variable->text)) report(*operation, *use.variable);
        }
        if (context_.is_full()) return;
      }
    }
  }

 private:
  void report(const Operation& operation, const Literal& variable) {
    const std::string where = operation.name.empty() ? "" : " by operation \"" + operation.name + "\"";
    context_.report("Variable \"$" + variable.text + "\" is not defined" + where + ".", {variable.at, operation.at});
  }
};

/// §5.8.4
class NoUnusedVariables : public Rule {
 public:
  using Rule::Rule;
  void finish() override {
    for (const Operation* operation : context_.operations()) {
      if (operation->variables.empty()) continue;
      std::set<std::string_view> used;
      for (const Uses* uses : context_.reachable_uses(*operation)) {
        for (const VariableUse& use : uses->variables) used.insert(use.variable->text);
      }
      const std::string where = operation->name.empty() ? "" : " in operation \"" + operation->name + "\"";
      for (const VariableDefinition& variable : operation->variables) {
        if (used.contains(variable.name)) continue;
        context_.report("Variable \"$" + variable.name + "\" is never used" + where + ".", {variable.at});
      }
    }
  }
};

/// §5.8.5
class VariablesInAllowedPosition : public Rule {
 public:
  using Rule::Rule;
  void finish() override {
    for (const Operation* operation : context_.operations()) {
      if (operation->variables.empty()) continue;
      std::map<std::string_view, const VariableDefinition*> defined;
      for (const VariableDefinition& variable : operation->variables) defined[variable.name] = &variable;
      for (const Uses* uses : context_.reachable_uses(*operation)) {
        for (const VariableUse& use : uses->variables) {
          const auto variable = defined.find(use.variable->text);
          if (variable != defined.end()) check(*variable->second, use);
        }
        if (context_.is_full()) return;
      }
    }
  }

 private:
  void check(const VariableDefinition& variable, const VariableUse& use) {
    const TypeView type = context_.schema().view(variable.type);
    if (!type.is_known() || !use.type.is_known() || is_allowed(variable, type, use)) return;
    context_.report("Variable \"$" + variable.name + "\" of type \"" + type.to_string() +
                        "\" used in position expecting type \"" + use.type.to_string() + "\".",
                    {variable.at, use.variable->at});
  }

  /// A default of either side stands in for a null.
  static bool is_allowed(const VariableDefinition& variable, TypeView type, const VariableUse& use) {
    if (!use.type.is_non_null() || type.is_non_null()) return is_sub_type(type, use.type);
    const bool has_default = variable.default_value && !variable.default_value->is(Literal::Kind::Null);
    return (has_default || use.has_default) && is_sub_type(type, use.type.inner());
  }
};

}  // namespace

void add_variable_rules(Rules& rules, ValidationContext& context) {
  rules.push_back(std::make_unique<UniqueVariableNames>(context));
  rules.push_back(std::make_unique<VariablesAreInputTypes>(context));
  rules.push_back(std::make_unique<NoUndefinedVariables>(context));
  rules.push_back(std::make_unique<NoUnusedVariables>(context));
  rules.push_back(std::make_unique<VariablesInAllowedPosition>(context));
}

}  // namespace postern::graphql
