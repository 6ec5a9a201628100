// The answers to `__schema` and `__type` (October 2021, §4).
#pragma once

#include "graphql/resolvers.hpp"

namespace postern::graphql {

/// For the types of builtin.hpp; `.__schema` and `.__type` are the fields that every query root has.
[[nodiscard]] const Resolvers& introspection_resolvers();

}  // namespace postern::graphql
