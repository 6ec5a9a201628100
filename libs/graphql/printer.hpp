// A schema as text again (October 2021, §3): without what every schema has.
#pragma once

#include <string>

#include "graphql/schema.hpp"

namespace postern::graphql {

/// Building it again gives an equal schema, but for directives other than @deprecated and @specifiedBy.
[[nodiscard]] std::string print_schema(const Schema& schema);

}  // namespace postern::graphql
