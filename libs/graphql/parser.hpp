// Reads GraphQL documents (October 2021, §2 and §3). Recursive descent with bounds, because everybody may send one.
#pragma once

#include <expected>
#include <string_view>

#include "graphql/ast.hpp"

namespace postern::graphql {

/// At a bound the document is refused with an error that names it.
struct ParseLimits {
  std::size_t bytes_max = 256U << 10;
  std::size_t tokens_max = 20'000;
  /// Selection sets, lists, objects and list types inside each other.
  std::size_t depth_max = 64;
  std::size_t fields_max = 5'000;
  std::size_t aliases_max = 1'000;
};

/// For a program's own type system.
inline constexpr ParseLimits kTrustedText{.bytes_max = 4U << 20, .tokens_max = 1'000'000};

/// Operations, fragments and type systems, as the grammar has it (§2.2); what does not belong there is for validation.
[[nodiscard]] std::expected<Document, Error> parse(std::string_view text, const ParseLimits& limits = {});

}  // namespace postern::graphql
