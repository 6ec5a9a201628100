#include "config/file.hpp"

#include <algorithm>
#include <cctype>
#include <optional>

namespace postern::config {
namespace {

constexpr std::size_t kFileSizeMax = 1024 * 1024;
constexpr unsigned kLinesMax = 10'000;

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

bool is_key(std::string_view key) {
  return !key.empty() && std::ranges::all_of(key, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.';
  });
}

bool is_environment_name(std::string_view key) {
  return std::ranges::none_of(key, [](char c) { return std::islower(static_cast<unsigned char>(c)) != 0; }) &&
         std::ranges::any_of(key, [](char c) { return std::isupper(static_cast<unsigned char>(c)) != 0; });
}

/// Reads one value at the front of `rest` and removes it; nothing when it is not a value.
std::optional<std::string> take_value(std::string_view& rest) {
  if (rest.empty()) return std::nullopt;
  if (rest.front() == '\'') {
    const std::size_t end = rest.find('\'', 1);
    if (end == std::string_view::npos) return std::nullopt;
    std::string value(rest.substr(1, end - 1));
    rest.remove_prefix(end + 1);
    return value;
  }
  if (rest.front() != '"') {
    const std::size_t end = std::min(rest.find_first_of(",]# \t"), rest.size());
    const std::string_view bare = rest.substr(0, end);
    if (bare.empty() || !std::ranges::all_of(bare, [](char c) {
          return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.' || c == '+';
        })) {
      return std::nullopt;
    }
    rest.remove_prefix(end);
    return std::string(bare);
  }
  std::string value;
  for (std::size_t i = 1; i < rest.size(); ++i) {
    if (rest[i] == '"') {
      rest.remove_prefix(i + 1);
      return value;
    }
    if (rest[i] != '\\') {
      value += rest[i];
      continue;
    }
    if (++i == rest.size()) return std::nullopt;
    constexpr std::string_view kEscapes = "\"\\nt", kMeaning = "\"\\\n\t";
    const std::size_t which = kEscapes.find(rest[i]);
    if (which == std::string_view::npos) return std::nullopt;
    value += kMeaning[which];
  }
  return std::nullopt;
}

bool at_end(std::string_view rest) {
  rest = trim(rest);
  return rest.empty() || rest.front() == '#';
}

std::optional<std::vector<std::string>> array_values(std::string_view rest) {
  std::vector<std::string> values;
  rest.remove_prefix(1);
  for (;;) {
    rest = trim(rest);
    if (rest.starts_with(']')) return at_end(rest.substr(1)) ? std::optional(values) : std::nullopt;
    auto value = take_value(rest);
    if (!value) return std::nullopt;
    values.push_back(std::move(*value));
    rest = trim(rest);
    if (rest.starts_with(',')) {
      rest.remove_prefix(1);
    } else if (!rest.starts_with(']')) {
      return std::nullopt;
    }
  }
}

std::optional<std::vector<std::string>> values_of(std::string_view key, std::string_view text) {
  if (text.starts_with('[')) return array_values(text);
  std::string_view rest = text;
  if (auto value = take_value(rest); value && at_end(rest)) return std::vector{std::move(*value)};
  // An environment file has bare values with any characters.
  if (is_environment_name(key) && !text.starts_with('"') && !text.starts_with('\''))
    return std::vector{std::string(text)};
  return std::nullopt;
}

std::expected<void, std::string> parse_line(std::string_view line, unsigned number, std::string& table,
                                            std::vector<FileEntry>& entries) {
  const auto wrong = [number](const std::string& what) {
    return std::unexpected("line " + std::to_string(number) + ": " + what);
  };
  if (line.starts_with('[')) {
    const std::size_t end = line.find(']');
    if (end == std::string_view::npos || !at_end(line.substr(end + 1)) || !is_key(trim(line.substr(1, end - 1)))) {
      return wrong("a table is written [name]");
    }
    table = trim(line.substr(1, end - 1));
    return {};
  }
  const std::size_t equals = line.find('=');
  if (equals == std::string_view::npos) return wrong("expected key = value");
  const std::string_view key = trim(line.substr(0, equals));
  if (!is_key(key)) return wrong("the key may have letters, digits, '_' and '-' only");
  auto values = values_of(key, trim(line.substr(equals + 1)));
  if (!values)
    return wrong("the value of " + std::string(key) + " is not text in quotes, a number, true, false or a list");
  entries.push_back({.line = number, .table = table, .key = std::string(key), .values = std::move(*values)});
  return {};
}

}  // namespace

std::expected<std::vector<FileEntry>, std::string> parse_file(std::string_view text) {
  if (text.size() > kFileSizeMax) return std::unexpected("the file is larger than 1 MiB");
  std::vector<FileEntry> entries;
  std::string table;
  for (unsigned number = 1; !text.empty(); ++number) {
    if (number > kLinesMax) return std::unexpected("the file has more than 10000 lines");
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.front() == '#') continue;
    if (auto parsed = parse_line(line, number, table, entries); !parsed) return std::unexpected(parsed.error());
  }
  return entries;
}

}  // namespace postern::config
