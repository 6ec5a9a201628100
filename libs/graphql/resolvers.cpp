#include "graphql/resolvers.hpp"

namespace postern::graphql {

const json::Value* Arguments::find(std::string_view name) const {
  for (const auto& [key, value] : *values_) {
    if (key == name) return &value;
  }
  return nullptr;
}

std::optional<std::string_view> Arguments::text(std::string_view name) const {
  const json::Value* value = find(name);
  const std::string* text = value == nullptr ? nullptr : value->as_string();
  return text == nullptr ? std::nullopt : std::optional<std::string_view>(*text);
}

std::optional<std::int64_t> Arguments::integer(std::string_view name) const {
  const json::Value* value = find(name);
  return value == nullptr ? std::nullopt : value->as_integer();
}

std::optional<bool> Arguments::boolean(std::string_view name) const {
  const json::Value* value = find(name);
  return value == nullptr ? std::nullopt : value->as_bool();
}

}  // namespace postern::graphql
