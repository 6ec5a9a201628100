// How things are written in messages, and in type systems: literals, types, JSON values, and what somebody may have
// meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "graphql/ast.hpp"

namespace postern::graphql {

[[nodiscard]] std::string print(const Literal& literal);
[[nodiscard]] std::string print(const TypeReference& type);
/// The same text for literals of the same meaning: the fields of objects are sorted.
[[nodiscard]] std::string print_sorted(const Literal& literal);
/// Between quotes, with what may not stand there escaped.
[[nodiscard]] std::string print_string(std::string_view text);
/// Between triple quotes, where the text allows it; `indentation` is put before each line but the first.
[[nodiscard]] std::string print_block_string(std::string_view text, std::string_view indentation = {});

/// A JSON value for messages: cut after ten items and below two levels.
[[nodiscard]] std::string inspect(const json::Value& value);

/// ` Did you mean "a", "b", or "c"?`, empty without suggestions. `what` comes before them, as in "the enum value".
[[nodiscard]] std::string did_you_mean(const std::vector<std::string>& suggestions, std::string_view what = {});
/// Those of `options` that are few typing errors away from `input`, the nearest first.
[[nodiscard]] std::vector<std::string> suggestions(std::string_view input, const std::vector<std::string>& options);
/// Numbers within names count as numbers: a2 is before a10.
[[nodiscard]] bool is_naturally_less(std::string_view a, std::string_view b);

}  // namespace postern::graphql
