#include "graphql/error.hpp"

namespace postern::graphql {
namespace {

/// A message quotes names and values, which may be as long as a request: a hundred of them must not make a large
/// answer.
constexpr std::size_t kMessageMax = 2'000;

std::string shortened(const std::string& message) {
  if (message.size() <= kMessageMax) return message;
  std::size_t end = kMessageMax;
  while (end > 0 && (static_cast<unsigned char>(message[end]) & 0xC0U) == 0x80U) --end;
  return message.substr(0, end) + "...";
}

}  // namespace

json::Value to_json(const Error& error) {
  json::Object object{{"message", shortened(error.message)}};
  json::Array locations;
  for (const Location& at : error.locations) {
    locations.emplace_back(json::Object{{"line", at.line}, {"column", at.column}});
  }
  if (!locations.empty()) object.emplace_back("locations", std::move(locations));
  json::Array path;
  for (const PathSegment& segment : error.path) {
    std::visit([&path](const auto& part) { path.emplace_back(part); }, segment);
  }
  if (!path.empty()) object.emplace_back("path", std::move(path));
  if (!error.extensions.empty()) object.emplace_back("extensions", error.extensions);
  return object;
}

json::Value to_json(const std::vector<Error>& errors) {
  json::Array all;
  for (const Error& error : errors) all.push_back(to_json(error));
  return all;
}

}  // namespace postern::graphql
