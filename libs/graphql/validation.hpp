// Whether a document makes sense for a schema: every rule of section 5 of the specification (October 2021).
#pragma once

#include <vector>

#include "graphql/schema.hpp"

namespace postern::graphql {

struct ValidationLimits {
  /// At the bound the rest of the document is not looked at, and the last error says so.
  std::size_t errors_max = 100;
  /// Fields that are compared with others of the same response name; a document that needs more is refused.
  std::size_t compared_fields_max = 500'000;
  /// Fields inside fields, fragments laid out: what is nested deeper is refused, and nobody's stack is the bound.
  std::size_t nesting_max = 256;
};

/// Empty when the document may be executed.
[[nodiscard]] std::vector<Error> validate(const Schema& schema, const Document& document,
                                          const ValidationLimits& limits = {});

}  // namespace postern::graphql
