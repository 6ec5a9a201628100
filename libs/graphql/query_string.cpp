#include "graphql/query_string.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>

namespace postern::graphql {
namespace {

constexpr std::size_t kParametersMax = 16;

std::optional<std::string> decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i] == '+' ? ' ' : text[i];
      continue;
    }
    const std::string_view digits = text.substr(i + 1, 2);
    std::uint8_t byte = 0;
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
    if (digits.size() != 2 || read.ec != std::errc{} || read.ptr != digits.data() + 2) return std::nullopt;
    out += static_cast<char>(byte);
    i += 2;
  }
  return out;
}

}  // namespace

std::optional<Parameters> parse_query_string(std::string_view text) {
  Parameters all;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(part.size() + 1, text.size()));
    if (part.empty()) continue;
    const std::size_t mark = std::min(part.find('='), part.size());
    auto name = decode(part.substr(0, mark));
    auto value = decode(part.substr(std::min(mark + 1, part.size())));
    if (!name || !value || all.size() == kParametersMax) return std::nullopt;
    const bool is_known = std::ranges::any_of(all, [&](const auto& known) { return known.first == *name; });
    if (is_known) return std::nullopt;
    all.emplace_back(std::move(*name), std::move(*value));
  }
  return all;
}

}  // namespace postern::graphql
