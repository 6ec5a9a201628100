// What browsers send: forms, query strings, cookies.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace postern::server {

/// application/x-www-form-urlencoded; the first value of a name counts, at most 64 fields. Nothing when it is
/// malformed.
class Form {
 public:
  [[nodiscard]] static std::optional<Form> parse(std::string_view text);
  /// Empty when it is not there.
  [[nodiscard]] const std::string& get(std::string_view name) const;
  [[nodiscard]] bool has(std::string_view name) const { return fields_.find(name) != fields_.end(); }

 private:
  std::map<std::string, std::string, std::less<>> fields_;
};

[[nodiscard]] std::string percent_encode(std::string_view text);
/// Of a Cookie header; empty when it is not there.
[[nodiscard]] std::string_view find_cookie(std::string_view header, std::string_view name);
/// Text in HTML, also inside a quoted attribute.
[[nodiscard]] std::string escape_html(std::string_view text);

}  // namespace postern::server
