#include "graphql/collect.hpp"

#include "graphql/values.hpp"

namespace postern::graphql {

FieldCollector::FieldCollector(const Schema& schema, const Document& document, const json::Object& variables)
    : schema_(schema), variables_(variables) {
  for (const Definition& definition : document.definitions) {
    if (const auto* fragment = std::get_if<Fragment>(&definition)) fragments_.emplace(fragment->name, fragment);
  }
}

const Fragment* FieldCollector::fragment(std::string_view name) const {
  const auto found = fragments_.find(name);
  return found == fragments_.end() ? nullptr : found->second;
}

std::expected<std::vector<FieldGroup>, Error> FieldCollector::collect(const Type& object,
                                                                      const std::vector<Selection>& selections) const {
  State state{object};
  if (auto added = add(state, selections); !added) return std::unexpected(std::move(added.error()));
  return std::move(state.groups);
}

std::expected<std::vector<FieldGroup>, Error> FieldCollector::collect_below(const Type& object,
                                                                            const FieldGroup& group) const {
  State state{object};
  for (const Field* field : group.fields) {
    if (auto added = add(state, field->selections); !added) return std::unexpected(std::move(added.error()));
  }
  return std::move(state.groups);
}

std::expected<void, Error> FieldCollector::add(State& state, const std::vector<Selection>& selections) const {
  for (const Selection& selection : selections) {
    auto added = std::visit([&](const auto& node) { return add(state, node); }, selection.node);
    if (!added) return added;
  }
  return {};
}

std::expected<void, Error> FieldCollector::add(State& state, const Field& field) const {
  const auto included = is_included(field.directives);
  if (!included) return std::unexpected(included.error());
  if (!*included) return {};
  const auto [place, is_new] = state.places.emplace(field.response_name(), state.groups.size());
  if (is_new) state.groups.push_back({field.response_name(), {}});
  state.groups[place->second].fields.push_back(&field);
  return {};
}

std::expected<void, Error> FieldCollector::add(State& state, const FragmentSpread& spread) const {
  const auto included = is_included(spread.directives);
  if (!included) return std::unexpected(included.error());
  if (!*included || !state.visited.insert(spread.name).second) return {};
  const Fragment* found = fragment(spread.name);
  if (found == nullptr || !applies(found->type_condition.text, state.object)) return {};
  return add(state, found->selections);
}

std::expected<void, Error> FieldCollector::add(State& state, const InlineFragment& inline_fragment) const {
  const auto included = is_included(inline_fragment.directives);
  if (!included) return std::unexpected(included.error());
  const auto& type = inline_fragment.type_condition;
  if (!*included || (type && !applies(type->text, state.object))) return {};
  return add(state, inline_fragment.selections);
}

std::expected<bool, Error> FieldCollector::is_included(const std::vector<Directive>& directives) const {
  for (const Directive& directive : directives) {
    const bool is_skip = directive.name == "skip";
    if (!is_skip && directive.name != "include") continue;
    const auto holds = condition(directive);
    if (!holds) return holds;
    if (*holds == is_skip) return false;
  }
  return true;
}

std::expected<bool, Error> FieldCollector::condition(const Directive& directive) const {
  const DirectiveType* type = schema_.find_directive(directive.name);
  const auto arguments = coerce_arguments(type->arguments, directive.arguments, directive.at, variables_);
  if (!arguments) return std::unexpected(arguments.error());
  return Arguments(*arguments).boolean("if").value_or(false);
}

bool FieldCollector::applies(std::string_view condition, const Type& object) const {
  const Type* type = schema_.find(condition);
  return type != nullptr && (type == &object || type->may_be(object));
}

}  // namespace postern::graphql
