// What the rules of validation share: the walk through the document with the schema's types beside it, and what each
// definition uses. A rule sees the nodes that it overrides, and reports.
//
// rules_*.cpp has the rules by topic, one class for each section of the specification.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "graphql/validation.hpp"

namespace postern::graphql {

/// A variable where a value is expected.
struct VariableUse {
  const Literal* variable = nullptr;
  TypeView type{};           ///< what is expected there; unknown behind unknown names
  bool has_default = false;  ///< the argument or field has one
};

/// What an operation or a fragment has in it, without the fragments that it spreads.
struct Uses {
  std::vector<VariableUse> variables{};
  std::vector<const FragmentSpread*> spreads{};
};

class ValidationContext {
 public:
  ValidationContext(const Schema& schema, const Document& document, const ValidationLimits& limits);

  [[nodiscard]] const Schema& schema() const { return schema_; }
  [[nodiscard]] const Document& document() const { return document_; }
  [[nodiscard]] const ValidationLimits& limits() const { return limits_; }
  [[nodiscard]] const std::vector<const Operation*>& operations() const { return operations_; }
  [[nodiscard]] const std::vector<const Fragment*>& fragments() const { return fragments_; }
  /// The last of that name.
  [[nodiscard]] const Fragment* fragment(std::string_view name) const;

  void report(std::string message, std::vector<Location> locations);
  [[nodiscard]] bool is_full() const { return is_full_; }
  [[nodiscard]] std::vector<Error> take_errors();

  /// Of an Operation or a Fragment; complete once the walk is over.
  [[nodiscard]] Uses& uses(const void* definition) { return uses_[definition]; }
  /// The operation itself and every fragment that it reaches.
  [[nodiscard]] std::vector<const Uses*> reachable_uses(const Operation& operation);
  /// Found once for each operation.
  [[nodiscard]] const std::vector<const Fragment*>& reachable_fragments(const Operation& operation);

 private:
  const Schema& schema_;
  const Document& document_;
  const ValidationLimits& limits_;
  std::vector<const Operation*> operations_;
  std::vector<const Fragment*> fragments_;
  std::map<std::string_view, const Fragment*> fragments_by_name_;
  std::map<const void*, Uses> uses_;
  std::map<const Operation*, std::vector<const Fragment*>> reachable_;
  std::vector<Error> errors_;
  bool is_full_ = false;
};

/// The types around a field. Null: unknown, because something before it was.
struct FieldPlace {
  const Type* parent = nullptr;
  const OutputField* definition = nullptr;
};

/// Arguments and who takes them.
struct ArgumentsPlace {
  const std::vector<Argument>& given;
  const std::vector<InputValue>* definitions = nullptr;  ///< null: unknown
  const Field* field = nullptr;                          ///< or
  const Directive* directive = nullptr;
  FieldPlace place{};  ///< of the field
};

class Rule {
 public:
  explicit Rule(ValidationContext& context) : context_(context) {}
  virtual ~Rule() = default;
  Rule(const Rule&) = delete;
  Rule& operator=(const Rule&) = delete;

  virtual void enter_operation(const Operation& /*operation*/) {}
  virtual void enter_variable(const VariableDefinition& /*definition*/) {}
  virtual void enter_fragment(const Fragment& /*fragment*/) {}
  virtual void enter_field(const Field& /*field*/, const FieldPlace& /*place*/) {}
  virtual void enter_spread(const FragmentSpread& /*spread*/, const Type* /*parent*/) {}
  /// `type` is its condition's, or `parent` without one.
  virtual void enter_inline_fragment(const InlineFragment& /*fragment*/, const Type* /*parent*/, const Type* /*type*/) {
  }
  virtual void enter_directives(const std::vector<Directive>& /*directives*/, std::string_view /*location*/) {}
  virtual void enter_arguments(const ArgumentsPlace& /*place*/) {}
  /// The value of an argument or a default, not those inside it. The type may be unknown.
  virtual void enter_value(const Literal& /*literal*/, TypeView /*type*/) {}
  /// After the walk.
  virtual void finish() {}

 protected:
  ValidationContext& context_;
};

using Rules = std::vector<std::unique_ptr<Rule>>;
void add_operation_rules(Rules& rules, ValidationContext& context);
void add_field_rules(Rules& rules, ValidationContext& context);
void add_overlap_rule(Rules& rules, ValidationContext& context);
void add_fragment_rules(Rules& rules, ValidationContext& context);
void add_argument_rules(Rules& rules, ValidationContext& context);
void add_directive_rules(Rules& rules, ValidationContext& context);
void add_variable_rules(Rules& rules, ValidationContext& context);

}  // namespace postern::graphql
