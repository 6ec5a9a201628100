// Requests and responses as values.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace postern::runtime {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

/// Names are compared without case; empty when there is none.
[[nodiscard]] std::string_view find_header(const HttpHeaders& headers, std::string_view name);

struct HttpRequest {
  std::string method{};
  std::string target{};  ///< as sent: path and query
  HttpHeaders headers{};
  std::string body{};    ///< at most 1 MiB
  std::string remote{};  ///< "192.0.2.1:4711"

  [[nodiscard]] std::string_view path() const { return std::string_view(target).substr(0, target.find('?')); }
  [[nodiscard]] std::string_view query() const {
    const std::size_t mark = target.find('?');
    return mark == std::string::npos ? std::string_view() : std::string_view(target).substr(mark + 1);
  }
};

struct HttpResponse {
  int status = 0;
  std::string body{};  ///< at most 1 MiB when it was received
  HttpHeaders headers{};
};

}  // namespace postern::runtime
