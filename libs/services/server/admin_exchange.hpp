// Requests and answers of the admin socket, one JSON line each.
//
//     {"command": "user add", "arguments": ["a@example.org"], "options": {"admin": ["true"], "password": ["…"]}}
//     {"ok": true, "data": {…}, "text": "…"}   or   {"ok": false, "exit_code": 11, "message": "…"}
#pragma once

#include <expected>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "services/server/server_error.hpp"

namespace postern::server {

struct AdminRequest {
  std::string command{};
  std::vector<std::string> arguments{};
  std::map<std::string, std::vector<std::string>, std::less<>> options{};

  [[nodiscard]] bool has(std::string_view option) const { return options.contains(option); }
  /// The first value, or empty.
  [[nodiscard]] std::string option(std::string_view name) const;
  [[nodiscard]] std::vector<std::string> list(std::string_view name) const;
  /// Empty behind the last one.
  [[nodiscard]] std::string argument(std::size_t index) const;
};

struct AdminReply {
  std::string data{};  ///< one JSON document
  std::string text{};  ///< the same for people, whole lines
};
using AdminResult = std::expected<AdminReply, ServerError>;

[[nodiscard]] std::string encode(const AdminRequest& request);
[[nodiscard]] std::expected<AdminRequest, ServerError> decode_request(std::string_view line);
[[nodiscard]] std::string encode(const AdminResult& result);
[[nodiscard]] AdminResult decode_result(std::string_view line);

}  // namespace postern::server
