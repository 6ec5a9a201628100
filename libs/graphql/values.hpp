// Input coercion (October 2021, §3.10, §5.6, §6.1.2, §6.4.1): from literals and from JSON to values of a type.
//
// A coerced value is JSON: enums are their names, an input object has exactly those fields that were given or have a
// default, so that null and absent stay two things.
#pragma once

#include <expected>
#include <functional>
#include <optional>

#include "graphql/schema.hpp"

namespace postern::graphql {

/// Nothing where the literal is not of the type, or a variable of it was not given. `variables` are coerced ones.
[[nodiscard]] std::optional<json::Value> coerce_literal(const Literal& literal, TypeView type,
                                                        const json::Object* variables);

/// Called for each thing that is wrong with a value: where in it, the part that is wrong, and why.
using InputProblem = std::function<void(const std::vector<PathSegment>&, const json::Value&, const std::string&)>;
/// Worth something only when nothing was wrong. At fifty problems the rest is not looked at.
[[nodiscard]] json::Value coerce_input(const json::Value& value, TypeView type, const InputProblem& problem);

/// The variables that `operation` defines, from what a client sent; all that is wrong with them otherwise.
[[nodiscard]] std::expected<json::Object, std::vector<Error>> coerce_variables(const Schema& schema,
                                                                               const Operation& operation,
                                                                               const json::Object& given);

/// The arguments of a field or directive at `at`. `variables` are coerced ones.
[[nodiscard]] std::expected<json::Object, Error> coerce_arguments(const std::vector<InputValue>& definitions,
                                                                  const std::vector<Argument>& given, Location at,
                                                                  const json::Object& variables);

/// `report(message, at)` for everything that is wrong with a literal in a position of a type (§5.6.1 to §5.6.4).
using LiteralProblem = std::function<void(std::string message, Location at)>;
void check_literal(const Literal& literal, TypeView type, const LiteralProblem& report);

}  // namespace postern::graphql
