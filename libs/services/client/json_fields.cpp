#include "services/client/json_fields.hpp"

#include <nlohmann/json.hpp>

namespace postern::client {

std::string text_field(const nlohmann::json& json, std::string_view key) {
  if (!json.is_object()) return {};
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

std::int64_t number_field(const nlohmann::json& json, std::string_view key, std::int64_t missing) {
  if (!json.is_object()) return missing;
  const auto found = json.find(key);
  return found != json.end() && found->is_number_integer() ? found->get<std::int64_t>() : missing;
}

bool flag_field(const nlohmann::json& json, std::string_view key) {
  if (!json.is_object()) return false;
  const auto found = json.find(key);
  return found != json.end() && found->is_boolean() && found->get<bool>();
}

}  // namespace postern::client
