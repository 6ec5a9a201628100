// Fields that would meet in one entry of the response have to be mergeable (October 2021, §5.3.2).
//
// Comparing each with each other is quadratic, and exponential along fragments. Instead fields are gathered in sets:
//
//   shapes: all fields of a selection set, fragments laid out whatever their type, by response name. Each must have the
//     shape of the first one. What is asked below them is one set again.
//   parents: the same fields by response name and by object type; fields of interfaces and unions belong to every
//   object
//     type. In each such set, names and arguments are those of the first one. What is asked below them is one set
//     again.
//
// A set is looked at once, however many ways lead to it, and the sum of their sizes is bounded.
#include <algorithm>

#include "graphql/text.hpp"
#include "graphql/validation_rule.hpp"

namespace postern::graphql {
namespace {

struct Entry {
  const Field* field;
  const Type* parent;  ///< null: unknown
  const OutputField* definition;
};
using Entries = std::vector<Entry>;

/// A selection set, and of what it is.
struct Part {
  const std::vector<Selection>* selections;
  const Type* parent;
};

class OverlappingFieldsCanBeMerged : public Rule {
 public:
  using Rule::Rule;

  void finish() override {
    const Schema& schema = context_.schema();
    for (const Operation* operation : context_.operations()) {
      check({&operation->selections, schema.root(operation->kind)});
    }
    for (const Fragment* fragment : context_.fragments()) {
      check({&fragment->selections, schema.find(fragment->type_condition.text)});
    }
  }

 private:
  enum class Pass : std::uint8_t { Shapes, Parents };
  using Group = std::vector<const Field*>;

  void check(const Part& part) {
    for (const Pass pass : {Pass::Shapes, Pass::Parents}) check_set({part}, pass);
  }

  void check_set(const std::vector<Part>& parts, Pass pass) {
    for (const Entries& group : groups(parts)) {
      if (is_over_) return;
      if (pass == Pass::Shapes) {
        check_group(group, pass);
      } else {
        check_parents(group);
      }
    }
  }

  /// One set for each object type that is a parent of some of the fields.
  void check_parents(const Entries& group) {
    std::vector<const Type*> objects;
    for (const Entry& entry : group) {
      if (is_object(entry.parent) && std::ranges::find(objects, entry.parent) == objects.end()) {
        objects.push_back(entry.parent);
      }
    }
    if (objects.size() < 2) return check_group(group, Pass::Parents);
    for (const Type* object : objects) {
      Entries of_object;
      std::ranges::copy_if(group, std::back_inserter(of_object),
                           [object](const Entry& entry) { return entry.parent == object || !is_object(entry.parent); });
      check_group(of_object, Pass::Parents);
    }
  }

  void check_group(const Entries& group, Pass pass) {
    if (is_over_ || !is_new(group, pass)) return;
    for (const Entry& entry : group) {
      const std::string reason = pass == Pass::Shapes ? shape_conflict(group.front(), entry)
                                                      : argument_conflict(*group.front().field, *entry.field);
      if (!reason.empty()) report(*group.front().field, *entry.field, reason);
    }
    std::vector<Part> below;
    for (const Entry& entry : group) {
      if (entry.field->selections.empty()) continue;
      below.push_back({&entry.field->selections, entry.definition == nullptr ? nullptr : entry.definition->type.named});
    }
    if (below.empty()) return;
    if (++nesting_ > context_.limits().nesting_max) give_up("The document is nested too deeply.");
    if (!is_over_) check_set(below, pass);
    --nesting_;
  }

  void give_up(std::string_view why) {
    is_over_ = true;
    context_.report(std::string(why), {});
  }

  static bool is_object(const Type* type) { return type != nullptr && type->kind == TypeKind::Object; }

  /// Counts what is compared, and refuses the document at the bound.
  bool is_new(const Entries& group, Pass pass) {
    Group fields;
    for (const Entry& entry : group) fields.push_back(entry.field);
    compared_ += fields.size();
    if (compared_ > context_.limits().compared_fields_max) {
      give_up("The document is too complex to be checked for fields that conflict.");
      return false;
    }
    return seen_[static_cast<std::size_t>(pass)].insert(std::move(fields)).second;
  }

  // --- which fields meet

  std::vector<Entries> groups(const std::vector<Part>& parts) {
    std::vector<Entries> groups;
    std::map<std::string_view, std::size_t> places;
    std::set<std::string_view> visited;
    for (const Part& part : parts) gather(part, groups, places, visited);
    return groups;
  }

  void gather(const Part& part, std::vector<Entries>& groups, std::map<std::string_view, std::size_t>& places,
              std::set<std::string_view>& visited) {
    const Type* parent = part.parent != nullptr && part.parent->is_composite() ? part.parent : nullptr;
    for (const Selection& selection : *part.selections) {
      if (const auto* field = std::get_if<Field>(&selection.node)) {
        const auto [place, is_new] = places.emplace(field->response_name(), groups.size());
        if (is_new) groups.emplace_back();
        const OutputField* definition = parent == nullptr ? nullptr : context_.schema().field(*parent, field->name);
        groups[place->second].push_back({field, parent, definition});
      } else if (const auto* fragment = std::get_if<InlineFragment>(&selection.node)) {
        const auto& condition = fragment->type_condition;
        const Type* type = condition ? context_.schema().find(condition->text) : parent;
        gather({&fragment->selections, type}, groups, places, visited);
      } else {
        const auto& spread = std::get<FragmentSpread>(selection.node);
        const Fragment* named = context_.fragment(spread.name);
        if (named == nullptr || !visited.insert(named->name).second) continue;
        gather({&named->selections, context_.schema().find(named->type_condition.text)}, groups, places, visited);
      }
    }
  }

  // --- what conflicts

  static std::string shape_conflict(const Entry& a, const Entry& b) {
    if (a.definition == nullptr || b.definition == nullptr) return {};
    const TypeView x = a.definition->type.view(), y = b.definition->type.view();
    const bool has_leaf = x.named->is_leaf() || y.named->is_leaf();
    if (std::ranges::equal(x.wrappers, y.wrappers) && (!has_leaf || x.named == y.named)) return {};
    return "they return conflicting types \"" + x.to_string() + "\" and \"" + y.to_string() + "\"";
  }

  std::string argument_conflict(const Field& a, const Field& b) {
    if (a.name != b.name) return "\"" + a.name + "\" and \"" + b.name + "\" are different fields";
    return arguments_text(a) == arguments_text(b) ? "" : "they have differing arguments";
  }

  /// The same for the same arguments, in whatever order.
  const std::string& arguments_text(const Field& field) {
    const auto [entry, is_new] = arguments_.try_emplace(&field);
    if (!is_new) return entry->second;
    std::vector<std::string> texts;
    for (const Argument& argument : field.arguments)
      texts.push_back(argument.name + ":" + print_sorted(argument.value));
    std::ranges::sort(texts);
    for (const std::string& text : texts) entry->second += text + ",";
    return entry->second;
  }

  void report(const Field& a, const Field& b, const std::string& reason) {
    if (!reported_.insert({&a, &b}).second) return;
    context_.report("Fields \"" + a.response_name() + "\" conflict because " + reason +
                        ". Use different aliases on the fields to fetch both if this was intentional.",
                    {a.at, b.at});
  }

  std::size_t compared_ = 0;
  std::size_t nesting_ = 0;
  bool is_over_ = false;
  std::set<Group> seen_[2];
  std::map<const Field*, std::string> arguments_;
  std::set<std::pair<const Field*, const Field*>> reported_;
};

}  // namespace

void add_overlap_rule(Rules& rules, ValidationContext& context) {
  rules.push_back(std::make_unique<OverlappingFieldsCanBeMerged>(context));
}

}  // namespace postern::graphql
