// What is wrong with a request, told as the specification wants it (GraphQL October 2021, §7.1.2).
//
// The words are those of the reference implementation wherever it has some, because clients and people know them.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.hpp"

namespace postern::graphql {

/// Both count from 1; a column is a Unicode code point.
struct Location {
  std::uint32_t line = 0;
  std::uint32_t column = 0;
  bool operator==(const Location&) const = default;
};

/// Response names and list indices, from the root.
using PathSegment = std::variant<std::string, std::size_t>;

struct Error {
  std::string message;
  std::vector<Location> locations{};
  std::vector<PathSegment> path{};
  /// For programs; absent from the response when it is empty.
  json::Object extensions{};
};

/// A map with `message`, and `locations`, `path`, `extensions` where there are some. A long message is cut.
[[nodiscard]] json::Value to_json(const Error& error);
[[nodiscard]] json::Value to_json(const std::vector<Error>& errors);

}  // namespace postern::graphql
