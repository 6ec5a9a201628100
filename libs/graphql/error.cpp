#include "graphql/error.hpp"

namespace postern::graphql {

json::Value to_json(const Error& error) {
  json::Object object{{"message", error.message}};
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
