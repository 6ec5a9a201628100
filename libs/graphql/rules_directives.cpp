// Rules about directives (October 2021, §5.7).
#include "graphql/validation_rule.hpp"

namespace postern::graphql {
namespace {

/// §5.7.1, §5.7.2
class KnownDirectives : public Rule {
 public:
  using Rule::Rule;
  void enter_directives(const std::vector<Directive>& directives, std::string_view location) override {
    for (const Directive& directive : directives) {
      const DirectiveType* type = context_.schema().find_directive(directive.name);
      if (type == nullptr) {
        context_.report("Unknown directive \"@" + directive.name + "\".", {directive.at});
      } else if (!type->may_be_at(location)) {
        context_.report("Directive \"@" + directive.name + "\" may not be used on " + std::string(location) + ".",
                        {directive.at});
      }
    }
  }
};

/// §5.7.3
class UniqueDirectivesPerLocation : public Rule {
 public:
  using Rule::Rule;
  void enter_directives(const std::vector<Directive>& directives, std::string_view /*location*/) override {
    std::map<std::string_view, Location> seen;
    for (const Directive& directive : directives) {
      const DirectiveType* type = context_.schema().find_directive(directive.name);
      if (type == nullptr || type->is_repeatable) continue;
      const auto [known, is_new] = seen.emplace(directive.name, directive.at);
      if (is_new) continue;
      context_.report("The directive \"@" + directive.name + "\" can only be used once at this location.",
                      {known->second, directive.at});
    }
  }
};

}  // namespace

void add_directive_rules(Rules& rules, ValidationContext& context) {
  rules.push_back(std::make_unique<KnownDirectives>(context));
  rules.push_back(std::make_unique<UniqueDirectivesPerLocation>(context));
}

}  // namespace postern::graphql
