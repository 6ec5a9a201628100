// Which fields an object is asked for: fragments laid out, @skip and @include obeyed, fields of the same response name
// put together (October 2021, §6.3.2).
#pragma once

#include <expected>
#include <map>
#include <set>
#include <string_view>
#include <vector>

#include "graphql/schema.hpp"

namespace postern::graphql {

/// Fields that make one entry of the response; never empty.
struct FieldGroup {
  std::string_view response_name;
  std::vector<const Field*> fields;
};

class FieldCollector {
 public:
  /// All outlive the collector. `variables` are coerced ones.
  FieldCollector(const Schema& schema, const Document& document, const json::Object& variables);

  /// In the order of the response. The error is one of a directive's argument.
  [[nodiscard]] std::expected<std::vector<FieldGroup>, Error> collect(const Type& object,
                                                                      const std::vector<Selection>& selections) const;
  /// What is asked of the value of these fields, which is such an object.
  [[nodiscard]] std::expected<std::vector<FieldGroup>, Error> collect_below(const Type& object,
                                                                            const FieldGroup& group) const;
  [[nodiscard]] const Fragment* fragment(std::string_view name) const;

 private:
  struct State {
    const Type& object;
    std::vector<FieldGroup> groups{};
    std::map<std::string_view, std::size_t> places{};
    std::set<std::string_view> visited{};
  };
  [[nodiscard]] std::expected<void, Error> add(State& state, const std::vector<Selection>& selections) const;
  [[nodiscard]] std::expected<void, Error> add(State& state, const Field& field) const;
  [[nodiscard]] std::expected<void, Error> add(State& state, const FragmentSpread& spread) const;
  [[nodiscard]] std::expected<void, Error> add(State& state, const InlineFragment& fragment) const;
  [[nodiscard]] std::expected<bool, Error> is_included(const std::vector<Directive>& directives) const;
  [[nodiscard]] std::expected<bool, Error> condition(const Directive& directive) const;
  [[nodiscard]] bool applies(std::string_view condition, const Type& object) const;

  const Schema& schema_;
  const json::Object& variables_;
  std::map<std::string_view, const Fragment*> fragments_;
};

}  // namespace postern::graphql
