#include "graphql/validation.hpp"

#include "graphql/validation_rule.hpp"

namespace postern::graphql {
namespace {

/// Goes through the document once and tells all rules about every node.
class Walk {
 public:
  Walk(ValidationContext& context, Rules& rules) : context_(context), rules_(rules), schema_(context.schema()) {}

  void run() {
    for (const Operation* operation : context_.operations()) walk(*operation);
    for (const Fragment* fragment : context_.fragments()) walk(*fragment);
    for (const auto& rule : rules_) rule->finish();
  }

 private:
  template <typename Method, typename... Given>
  void tell(Method method, const Given&... given) {
    if (context_.is_full()) return;
    for (const auto& rule : rules_) ((*rule).*method)(given...);
  }

  void walk(const Operation& operation) {
    uses_ = &context_.uses(&operation);
    tell(&Rule::enter_operation, operation);
    for (const VariableDefinition& variable : operation.variables) {
      tell(&Rule::enter_variable, variable);
      const TypeView type = schema_.view(variable.type);
      const bool is_input = type.is_known() && type.named->is_input();
      if (variable.default_value) value(*variable.default_value, is_input ? type : TypeView{}, false);
      directives(variable.directives, "VARIABLE_DEFINITION");
    }
    constexpr std::string_view kLocations[] = {"QUERY", "MUTATION", "SUBSCRIPTION"};
    directives(operation.directives, kLocations[static_cast<std::size_t>(operation.kind)]);
    selections(operation.selections, schema_.root(operation.kind));
  }

  void walk(const Fragment& fragment) {
    uses_ = &context_.uses(&fragment);
    tell(&Rule::enter_fragment, fragment);
    directives(fragment.directives, "FRAGMENT_DEFINITION");
    selections(fragment.selections, schema_.find(fragment.type_condition.text));
  }

  void selections(const std::vector<Selection>& all, const Type* type) {
    const Type* parent = type != nullptr && type->is_composite() ? type : nullptr;
    for (const Selection& selection : all) {
      if (context_.is_full()) return;
      std::visit([&](const auto& node) { walk_selection(node, parent); }, selection.node);
    }
  }

  void walk_selection(const Field& field, const Type* parent) {
    const FieldPlace place{parent, parent == nullptr ? nullptr : schema_.field(*parent, field.name)};
    tell(&Rule::enter_field, field, place);
    const bool is_known = place.definition != nullptr;
    arguments({field.arguments, is_known ? &place.definition->arguments : nullptr, &field, nullptr, place});
    directives(field.directives, "FIELD");
    selections(field.selections, is_known ? place.definition->type.named : nullptr);
  }

  void walk_selection(const FragmentSpread& spread, const Type* parent) {
    uses_->spreads.push_back(&spread);
    tell(&Rule::enter_spread, spread, parent);
    directives(spread.directives, "FRAGMENT_SPREAD");
  }

  void walk_selection(const InlineFragment& fragment, const Type* parent) {
    const Type* type = fragment.type_condition ? schema_.find(fragment.type_condition->text) : parent;
    tell(&Rule::enter_inline_fragment, fragment, parent, type);
    directives(fragment.directives, "INLINE_FRAGMENT");
    selections(fragment.selections, type);
  }

  void directives(const std::vector<Directive>& all, std::string_view location) {
    if (all.empty()) return;
    tell(&Rule::enter_directives, all, location);
    for (const Directive& directive : all) {
      const DirectiveType* type = schema_.find_directive(directive.name);
      arguments({directive.arguments, type == nullptr ? nullptr : &type->arguments, nullptr, &directive, {}});
    }
  }

  void arguments(const ArgumentsPlace& place) {
    tell(&Rule::enter_arguments, place);
    for (const Argument& argument : place.given) {
      const InputValue* definition = nullptr;
      for (const InputValue& known : place.definitions == nullptr ? kNone : *place.definitions) {
        if (known.name == argument.name) definition = &known;
      }
      value(argument.value, definition == nullptr ? TypeView{} : definition->type.view(),
            definition != nullptr && definition->default_literal);
    }
  }

  void value(const Literal& literal, TypeView type, bool has_default) {
    tell(&Rule::enter_value, literal, type);
    note_variables(literal, type, has_default);
  }

  void note_variables(const Literal& literal, TypeView type, bool has_default) {
    if (literal.is(Literal::Kind::Variable)) uses_->variables.push_back({&literal, type, has_default});
    const TypeView list = type.nullable();
    for (const Literal& item : literal.items) note_variables(item, list.is_list() ? list.inner() : list, false);
    for (const ObjectField& field : literal.fields) {
      const bool is_object = type.is_known() && type.named->kind == TypeKind::InputObject;
      const InputValue* definition = is_object ? type.named->input_field(field.name) : nullptr;
      note_variables(field.value, definition == nullptr ? TypeView{} : definition->type.view(),
                     definition != nullptr && definition->default_literal);
    }
  }

  static inline const std::vector<InputValue> kNone{};

  ValidationContext& context_;
  Rules& rules_;
  const Schema& schema_;
  Uses* uses_ = nullptr;
};

}  // namespace

ValidationContext::ValidationContext(const Schema& schema, const Document& document, const ValidationLimits& limits)
    : schema_(schema), document_(document), limits_(limits) {
  for (const Definition& definition : document.definitions) {
    if (const auto* operation = std::get_if<Operation>(&definition)) operations_.push_back(operation);
    if (const auto* fragment = std::get_if<Fragment>(&definition)) {
      fragments_.push_back(fragment);
      fragments_by_name_[fragment->name] = fragment;
    }
  }
}

const Fragment* ValidationContext::fragment(std::string_view name) const {
  const auto found = fragments_by_name_.find(name);
  return found == fragments_by_name_.end() ? nullptr : found->second;
}

void ValidationContext::report(std::string message, std::vector<Location> locations) {
  if (is_full_) return;
  if (errors_.size() < limits_.errors_max) {
    errors_.push_back({std::move(message), std::move(locations)});
    return;
  }
  is_full_ = true;
  errors_.push_back({"Too many validation errors, error limit reached. Validation aborted."});
}

std::vector<Error> ValidationContext::take_errors() {
  return std::move(errors_);
}

const std::vector<const Fragment*>& ValidationContext::reachable_fragments(const Operation& operation) {
  const auto [entry, is_new] = reachable_.try_emplace(&operation);
  std::vector<const Fragment*>& reached = entry->second;
  if (!is_new) return reached;
  std::set<const Fragment*> seen;
  const auto add = [&](const void* definition) {
    const auto uses = uses_.find(definition);
    if (uses == uses_.end()) return;
    for (const FragmentSpread* spread : uses->second.spreads) {
      const Fragment* next = fragment(spread->name);
      if (next != nullptr && seen.insert(next).second) reached.push_back(next);
    }
  };
  add(&operation);
  for (std::size_t i = 0; i < reached.size(); ++i) add(reached[i]);
  return reached;
}

std::vector<const Uses*> ValidationContext::reachable_uses(const Operation& operation) {
  std::vector<const Uses*> all;
  const auto add = [&](const void* definition) {
    if (const auto uses = uses_.find(definition); uses != uses_.end()) all.push_back(&uses->second);
  };
  add(&operation);
  for (const Fragment* fragment : reachable_fragments(operation)) add(fragment);
  return all;
}

std::vector<Error> validate(const Schema& schema, const Document& document, const ValidationLimits& limits) {
  ValidationContext context(schema, document, limits);
  Rules rules;
  add_operation_rules(rules, context);
  add_field_rules(rules, context);
  add_fragment_rules(rules, context);
  add_argument_rules(rules, context);
  add_directive_rules(rules, context);
  add_variable_rules(rules, context);
  add_overlap_rule(rules, context);
  Walk(context, rules).run();
  return context.take_errors();
}

}  // namespace postern::graphql
