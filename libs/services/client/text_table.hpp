// Pieces of the texts that `postern` prints.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace postern::client {

using Row = std::vector<std::string>;

/// Control characters, which a hostile controller might send, become '?'.
[[nodiscard]] std::string printable(std::string text);
/// Columns as wide as their widest cell, indented by two blanks; every cell printable().
[[nodiscard]] std::string table(std::vector<Row> rows);
/// "12.3 ms"; empty for what is no number.
[[nodiscard]] std::string milliseconds(const nlohmann::json& value);
/// A member of an object, or null.
[[nodiscard]] const nlohmann::json& field(const nlohmann::json& object, const char* key);
/// The texts of a list, with commas between them.
[[nodiscard]] std::string joined(const nlohmann::json& list);

}  // namespace postern::client
