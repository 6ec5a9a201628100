// Reading JSON that somebody else has written: a field of the wrong type is a missing field, never an exception.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace postern::client {

[[nodiscard]] inline std::string text_field(const nlohmann::json& json, std::string_view key) {
  if (!json.is_object()) return {};
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

[[nodiscard]] inline std::int64_t number_field(const nlohmann::json& json, std::string_view key,
                                               std::int64_t missing = 0) {
  if (!json.is_object()) return missing;
  const auto found = json.find(key);
  return found != json.end() && found->is_number_integer() ? found->get<std::int64_t>() : missing;
}

[[nodiscard]] inline bool flag_field(const nlohmann::json& json, std::string_view key) {
  if (!json.is_object()) return false;
  const auto found = json.find(key);
  return found != json.end() && found->is_boolean() && found->get<bool>();
}

}  // namespace postern::client
