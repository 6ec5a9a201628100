// Leaves: the scalars of the specification (October 2021, §3.5), custom ones, and enums, whose values are their names.
#pragma once

#include <expected>
#include <string>

#include "graphql/schema.hpp"

namespace postern::graphql {

struct LeafError {
  std::string message{};
  /// False for what a custom scalar says, which is only the reason.
  bool is_sentence = true;
};
using LeafResult = std::expected<json::Value, LeafError>;

/// `type` is a leaf. A literal inside another may be a variable where a custom scalar takes objects or lists.
[[nodiscard]] LeafResult parse_leaf(const Type& type, const Literal& literal, const json::Object* variables);
[[nodiscard]] LeafResult parse_leaf(const Type& type, const json::Value& value);
[[nodiscard]] LeafResult serialize_leaf(const Type& type, const json::Value& value);

}  // namespace postern::graphql
