#include "graphql/cost.hpp"

#include <algorithm>
#include <map>

#include "graphql/collect.hpp"
#include "graphql/values.hpp"

namespace postern::graphql {
namespace {

constexpr std::uint64_t kCostCap = 1'000'000'000'000;
/// More would not change a verdict; times kCostCap it stays below 2^64.
constexpr std::uint64_t kItemsCap = 1'000'000;

/// Whether something further up has said how many items a list has.
enum class Size : std::uint8_t { Unknown, Said };

class Estimate {
 public:
  Estimate(const Schema& schema, const Document& document, const json::Object& variables, std::uint64_t list_size)
      : schema_(schema), variables_(variables), fragments_(schema, document, variables), list_size_(list_size) {}

  Cost of(const std::vector<Selection>& selections, const Type* parent, Size size) {
    Cost sum;
    for (const Selection& selection : selections) {
      const Cost one = std::visit([&](const auto& node) { return of_node(node, parent, size); }, selection.node);
      sum.fields = std::min(sum.fields + one.fields, kCostCap);
      sum.depth = std::max(sum.depth, one.depth);
    }
    return sum;
  }

 private:
  Cost of_node(const Field& field, const Type* parent, Size size) {
    const OutputField* definition = parent == nullptr ? nullptr : schema_.field(*parent, field.name);
    if (definition == nullptr) return {1, 1};
    const TypeView type = definition->type.view();
    const bool is_list = std::ranges::find(type.wrappers, Wrapper::List) != type.wrappers.end();
    const auto asked = items_asked(*definition, field);
    const std::uint64_t items = asked ? *asked : is_list && size == Size::Unknown ? list_size_ : 1;
    // What a connection was told holds for its list of edges, not for lists further down.
    const Size below = asked && !is_list ? Size::Said : size == Size::Said && !is_list ? size : Size::Unknown;
    const Cost inside = of(field.selections, definition->type.named, below);
    return {std::min(1 + items * inside.fields, kCostCap), inside.depth + 1};
  }

  Cost of_node(const InlineFragment& fragment, const Type* parent, Size size) {
    const Type* type = fragment.type_condition ? schema_.find(fragment.type_condition->text) : parent;
    return of(fragment.selections, type, size);
  }

  Cost of_node(const FragmentSpread& spread, const Type* /*parent*/, Size size) {
    const Fragment* fragment = fragments_.fragment(spread.name);
    if (fragment == nullptr) return {};
    // The entry stands before it is known, so that a fragment inside itself costs nothing.
    const auto [entry, is_new] = known_.try_emplace({fragment, size});
    if (!is_new) return entry->second;
    const Cost cost = of(fragment->selections, schema_.find(fragment->type_condition.text), size);
    known_[{fragment, size}] = cost;
    return cost;
  }

  std::optional<std::uint64_t> items_asked(const OutputField& definition, const Field& field) const {
    if (definition.argument("first") == nullptr && definition.argument("last") == nullptr) return std::nullopt;
    const auto arguments = coerce_arguments(definition.arguments, field.arguments, field.at, variables_);
    if (!arguments) return std::nullopt;
    const Arguments values(*arguments);
    const auto first = values.integer("first");
    const auto count = first ? first : values.integer("last");
    if (!count) return std::nullopt;
    return std::min(static_cast<std::uint64_t>(std::max<std::int64_t>(*count, 1)), kItemsCap);
  }

  const Schema& schema_;
  const json::Object& variables_;
  FieldCollector fragments_;
  std::uint64_t list_size_;
  std::map<std::pair<const Fragment*, Size>, Cost> known_;
};

}  // namespace

Cost estimate_cost(const Schema& schema, const Document& document, const Operation& operation,
                   const json::Object& variables, std::uint64_t list_size) {
  Estimate estimate(schema, document, variables, std::min(list_size, kItemsCap));
  return estimate.of(operation.selections, schema.root(operation.kind), Size::Unknown);
}

std::expected<Cost, Error> check_cost(const Schema& schema, const Document& document, const Operation& operation,
                                      const json::Object& variables, const CostLimits& limits) {
  const Cost cost = estimate_cost(schema, document, operation, variables, limits.list_size);
  const auto fail = [&operation](std::string what, std::uint64_t maximum) {
    return std::unexpected(
        Error{"The operation is " + what + " than " + std::to_string(maximum) + "; ask for less in one request.",
              {operation.at}});
  };
  if (cost.depth > limits.depth_max) return fail("nested deeper", limits.depth_max);
  if (cost.fields > limits.cost_max) {
    return fail("too expensive: it may answer with " + std::to_string(cost.fields) + " fields, more", limits.cost_max);
  }
  return cost;
}

}  // namespace postern::graphql
