// Rules about fragments (October 2021, §5.5).
#include "graphql/text.hpp"
#include "graphql/validation_rule.hpp"

namespace postern::graphql {
namespace {

/// §5.5.1.1
class UniqueFragmentNames : public Rule {
 public:
  using Rule::Rule;
  void enter_fragment(const Fragment& fragment) override {
    const auto [known, is_new] = names_.emplace(fragment.name, fragment.name_at);
    if (is_new) return;
    context_.report("There can be only one fragment named \"" + fragment.name + "\".",
                    {known->second, fragment.name_at});
  }

 private:
  std::map<std::string_view, Location> names_;
};

/// §5.5.1.2, and the same of the types of variables
class KnownTypeNames : public Rule {
 public:
  using Rule::Rule;
  void enter_variable(const VariableDefinition& definition) override {
    check(definition.type.name, definition.type.name_at);
  }
  void enter_fragment(const Fragment& fragment) override {
    check(fragment.type_condition.text, fragment.type_condition.at);
  }
  void enter_inline_fragment(const InlineFragment& fragment, const Type*, const Type*) override {
    if (fragment.type_condition) check(fragment.type_condition->text, fragment.type_condition->at);
  }

 private:
  void check(const std::string& name, Location at) {
    if (context_.schema().find(name) != nullptr) return;
    std::vector<std::string> names;
    for (const auto& type : context_.schema().types()) names.push_back(type->name);
    context_.report("Unknown type \"" + name + "\"." + did_you_mean(suggestions(name, names)), {at});
  }
};

/// §5.5.1.3
class FragmentsOnCompositeTypes : public Rule {
 public:
  using Rule::Rule;
  void enter_fragment(const Fragment& fragment) override {
    check("Fragment \"" + fragment.name + "\"", fragment.type_condition);
  }
  void enter_inline_fragment(const InlineFragment& fragment, const Type*, const Type*) override {
    if (fragment.type_condition) check("Fragment", *fragment.type_condition);
  }

 private:
  void check(const std::string& subject, const Name& condition) {
    const Type* type = context_.schema().find(condition.text);
    if (type == nullptr || type->is_composite()) return;
    context_.report(subject + " cannot condition on non composite type \"" + condition.text + "\".", {condition.at});
  }
};

/// §5.5.1.4
class NoUnusedFragments : public Rule {
 public:
  using Rule::Rule;
  void finish() override {
    std::set<std::string_view> used;
    for (const Operation* operation : context_.operations()) {
      for (const Fragment* fragment : context_.reachable_fragments(*operation)) used.insert(fragment->name);
    }
    for (const Fragment* fragment : context_.fragments()) {
      if (used.contains(fragment->name)) continue;
      context_.report("Fragment \"" + fragment->name + "\" is never used.", {fragment->at});
    }
  }
};

/// §5.5.2.1
class KnownFragmentNames : public Rule {
 public:
  using Rule::Rule;
  void enter_spread(const FragmentSpread& spread, const Type*) override {
    if (context_.fragment(spread.name) != nullptr) return;
    context_.report("Unknown fragment \"" + spread.name + "\".", {spread.name_at});
  }
};

/// §5.5.2.2. Each fragment is entered once; the way to where the search is tells a cycle from a known fragment.
class NoFragmentCycles : public Rule {
 public:
  using Rule::Rule;
  void finish() override {
    for (const Fragment* fragment : context_.fragments()) search(*fragment);
  }

 private:
  void search(const Fragment& fragment) {
    if (!visited_.insert(fragment.name).second) return;
    places_[fragment.name] = way_.size();
    for (const FragmentSpread* spread : context_.uses(&fragment).spreads) {
      const auto place = places_.find(spread->name);
      way_.push_back(spread);
      if (place != places_.end()) {
        report(place->second);
      } else if (const Fragment* next = context_.fragment(spread->name)) {
        search(*next);
      }
      way_.pop_back();
    }
    places_.erase(fragment.name);
  }

  void report(std::size_t begin) {
    std::string via;
    std::vector<Location> locations;
    for (std::size_t i = begin; i < way_.size(); ++i) {
      locations.push_back(way_[i]->at);
      if (i + 1 < way_.size()) via += (via.empty() ? " via \"" : ", \"") + way_[i]->name + "\"";
    }
    context_.report("Cannot spread fragment \"" + way_.back()->name + "\" within itself" + via + ".",
                    std::move(locations));
  }

  std::set<std::string_view> visited_;
  std::map<std::string_view, std::size_t> places_;
  std::vector<const FragmentSpread*> way_;
};

/// §5.5.2.3
class PossibleFragmentSpreads : public Rule {
 public:
  using Rule::Rule;
  void enter_inline_fragment(const InlineFragment& fragment, const Type* parent, const Type* type) override {
    check("Fragment", parent, type, fragment.at);
  }
  void enter_spread(const FragmentSpread& spread, const Type* parent) override {
    const Fragment* fragment = context_.fragment(spread.name);
    if (fragment == nullptr) return;
    check("Fragment \"" + spread.name + "\"", parent, context_.schema().find(fragment->type_condition.text), spread.at);
  }

 private:
  void check(const std::string& subject, const Type* parent, const Type* type, Location at) {
    if (parent == nullptr || type == nullptr || !type->is_composite() || overlaps(*parent, *type)) return;
    context_.report(subject + " cannot be spread here as objects of type \"" + parent->name +
                        "\" can never be of type \"" + type->name + "\".",
                    {at});
  }
};

}  // namespace

void add_fragment_rules(Rules& rules, ValidationContext& context) {
  rules.push_back(std::make_unique<UniqueFragmentNames>(context));
  rules.push_back(std::make_unique<KnownTypeNames>(context));
  rules.push_back(std::make_unique<FragmentsOnCompositeTypes>(context));
  rules.push_back(std::make_unique<NoUnusedFragments>(context));
  rules.push_back(std::make_unique<KnownFragmentNames>(context));
  rules.push_back(std::make_unique<NoFragmentCycles>(context));
  rules.push_back(std::make_unique<PossibleFragmentSpreads>(context));
}

}  // namespace postern::graphql
