// What an operation may cost, estimated before anything of it is done: its depth and the number of fields of its
// answer.
//
// A field counts 1, and what is asked of its value as often as the value has items: as many as an argument `first` or
// `last` asks for (of the field itself or of the connection around it), else `list_size` for a list.
#pragma once

#include <cstdint>
#include <expected>

#include "graphql/schema.hpp"

namespace postern::graphql {

struct CostLimits {
  std::size_t depth_max = 32;
  std::uint64_t cost_max = 1'000'000;
  std::uint64_t list_size = 10;
};

struct Cost {
  std::uint64_t fields = 0;  ///< at most 10^12, however many more it may be
  std::size_t depth = 0;
};

/// The document is valid; `variables` are coerced ones.
[[nodiscard]] Cost estimate_cost(const Schema& schema, const Document& document, const Operation& operation,
                                 const json::Object& variables, std::uint64_t list_size);

[[nodiscard]] std::expected<Cost, Error> check_cost(const Schema& schema, const Document& document,
                                                    const Operation& operation, const json::Object& variables,
                                                    const CostLimits& limits);

}  // namespace postern::graphql
