// Reading JSON that somebody else has written: a field of the wrong type is a missing field, never an exception.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace postern::client {

[[nodiscard]] std::string text_field(const nlohmann::json& json, std::string_view key);
[[nodiscard]] std::int64_t number_field(const nlohmann::json& json, std::string_view key, std::int64_t missing = 0);
[[nodiscard]] bool flag_field(const nlohmann::json& json, std::string_view key);

}  // namespace postern::client
