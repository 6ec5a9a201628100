#include "services/server/form.hpp"

#include <algorithm>
#include <cctype>

#include "base/bytes.hpp"

namespace postern::server {
namespace {

constexpr std::size_t kFieldsMax = 64;

std::optional<std::string> decode(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      result += ' ';
    } else if (text[i] != '%') {
      result += text[i];
    } else {
      const auto byte = i + 2 < text.size() ? from_hex(text.substr(i + 1, 2)) : std::nullopt;
      if (!byte) return std::nullopt;
      result += static_cast<char>(byte->front());
      i += 2;
    }
  }
  return result;
}

}  // namespace

std::optional<Form> Form::parse(std::string_view text) {
  Form form;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('&'), text.size());
    const std::string_view field = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (field.empty()) continue;
    const std::size_t equals = std::min(field.find('='), field.size());
    auto name = decode(field.substr(0, equals));
    auto value = decode(field.substr(std::min(equals + 1, field.size())));
    if (!name || !value || form.fields_.size() >= kFieldsMax) return std::nullopt;
    form.fields_.emplace(std::move(*name), std::move(*value));
  }
  return form;
}

const std::string& Form::get(std::string_view name) const {
  static const std::string kNothing;
  const auto found = fields_.find(name);
  return found == fields_.end() ? kNothing : found->second;
}

std::string percent_encode(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<std::uint8_t>(c);
    if (std::isalnum(byte) != 0 || std::string_view("-._~").contains(c)) {
      result += c;
    } else {
      result += '%' + to_hex(ByteView(&byte, 1));
    }
  }
  return result;
}

std::string_view find_cookie(std::string_view header, std::string_view name) {
  while (!header.empty()) {
    const std::size_t end = std::min(header.find(';'), header.size());
    std::string_view cookie = header.substr(0, end);
    header.remove_prefix(std::min(end + 1, header.size()));
    while (cookie.starts_with(' ')) cookie.remove_prefix(1);
    if (cookie.starts_with(name) && cookie.substr(name.size()).starts_with('=')) return cookie.substr(name.size() + 1);
  }
  return {};
}

std::string escape_html(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\'':
        result += "&#39;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

}  // namespace postern::server
