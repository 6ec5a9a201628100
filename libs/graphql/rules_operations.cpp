// Rules about documents and operations (October 2021, §5.1, §5.2).
#include "graphql/collect.hpp"
#include "graphql/validation_rule.hpp"

namespace postern::graphql {
namespace {

/// §5.1.1
class ExecutableDefinitions : public Rule {
 public:
  using Rule::Rule;
  void finish() override {
    for (const Definition& definition : context_.document().definitions) {
      if (const auto* type = std::get_if<TypeDefinition>(&definition)) refuse("\"" + type->name + "\"", type->at);
      if (const auto* schema = std::get_if<SchemaDefinition>(&definition)) refuse("schema", schema->at);
      if (const auto* directive = std::get_if<DirectiveDefinition>(&definition)) {
        refuse("\"" + directive->name + "\"", directive->at);
      }
    }
  }

 private:
  void refuse(const std::string& name, Location at) {
    context_.report("The " + name + " definition is not executable.", {at});
  }
};

/// §5.2.1.1
class UniqueOperationNames : public Rule {
 public:
  using Rule::Rule;
  void enter_operation(const Operation& operation) override {
    if (operation.name.empty()) return;
    const auto [known, is_new] = names_.emplace(operation.name, operation.name_at);
    if (is_new) return;
    context_.report("There can be only one operation named \"" + operation.name + "\".",
                    {known->second, operation.name_at});
  }

 private:
  std::map<std::string_view, Location> names_;
};

/// §5.2.2.1
class LoneAnonymousOperation : public Rule {
 public:
  using Rule::Rule;
  void enter_operation(const Operation& operation) override {
    if (!operation.name.empty() || context_.operations().size() < 2) return;
    context_.report("This anonymous operation must be the only defined operation.", {operation.at});
  }
};

/// §5.2.3.1
class SingleFieldSubscriptions : public Rule {
 public:
  using Rule::Rule;
  void enter_operation(const Operation& operation) override {
    const Type* root = context_.schema().root(OperationKind::Subscription);
    if (operation.kind != OperationKind::Subscription || root == nullptr) return;
    const json::Object no_variables;
    const FieldCollector collector(context_.schema(), context_.document(), no_variables);
    const auto groups = collector.collect(*root, operation.selections);
    if (!groups) return;  // another rule knows what is wrong with a directive
    const std::string subject =
        operation.name.empty() ? "Anonymous Subscription" : "Subscription \"" + operation.name + "\"";
    std::vector<Location> extra;
    for (std::size_t i = 1; i < groups->size(); ++i) add_locations(extra, (*groups)[i]);
    if (!extra.empty()) context_.report(subject + " must select only one top level field.", std::move(extra));
    for (const FieldGroup& group : *groups) {
      if (!group.fields.front()->name.starts_with("__")) continue;
      std::vector<Location> all;
      add_locations(all, group);
      context_.report(subject + " must not select an introspection top level field.", std::move(all));
    }
  }

 private:
  static void add_locations(std::vector<Location>& all, const FieldGroup& group) {
    for (const Field* field : group.fields) all.push_back(field->at);
  }
};

}  // namespace

void add_operation_rules(Rules& rules, ValidationContext& context) {
  rules.push_back(std::make_unique<ExecutableDefinitions>(context));
  rules.push_back(std::make_unique<UniqueOperationNames>(context));
  rules.push_back(std::make_unique<LoneAnonymousOperation>(context));
  rules.push_back(std::make_unique<SingleFieldSubscriptions>(context));
}

}  // namespace postern::graphql
