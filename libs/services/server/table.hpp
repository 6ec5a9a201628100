// Aligned columns for people.
#pragma once

#include <string>
#include <vector>

namespace postern::server {

/// The first row is the heading. No rows behind it: `when_empty` instead. Cells of one line each.
[[nodiscard]] std::string table(const std::vector<std::vector<std::string>>& rows, const std::string& when_empty);

}  // namespace postern::server
