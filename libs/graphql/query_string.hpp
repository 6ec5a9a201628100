// Parameters behind the "?" of a URL (application/x-www-form-urlencoded).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace postern::graphql {

using Parameters = std::vector<std::pair<std::string, std::string>>;

/// Nothing when a percent sign is not followed by two digits, when a name comes twice, or at more than 16 parameters.
[[nodiscard]] std::optional<Parameters> parse_query_string(std::string_view text);

}  // namespace postern::graphql
