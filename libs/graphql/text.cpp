#include "graphql/text.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>

#include "graphql/lexer.hpp"

namespace postern::graphql {
namespace {

enum class FieldOrder : std::uint8_t { AsWritten, Sorted };

void append_literal(std::string& out, const Literal& literal, FieldOrder order);

void append_object(std::string& out, const Literal& literal, FieldOrder order) {
  std::vector<const ObjectField*> fields;
  for (const ObjectField& field : literal.fields) fields.push_back(&field);
  if (order == FieldOrder::Sorted) {
    std::ranges::stable_sort(fields, {}, [](const ObjectField* field) -> const std::string& { return field->name; });
  }
  out += '{';
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (i > 0) out += ", ";
    out += fields[i]->name + ": ";
    append_literal(out, fields[i]->value, order);
  }
  out += '}';
}

void append_literal(std::string& out, const Literal& literal, FieldOrder order) {
  switch (literal.kind) {
    case Literal::Kind::Variable:
      out += "$" + literal.text;
      break;
    case Literal::Kind::String:
      out += literal.is_block && order == FieldOrder::AsWritten ? print_block_string(literal.text)
                                                                : print_string(literal.text);
      break;
    case Literal::Kind::List:
      out += '[';
      for (std::size_t i = 0; i < literal.items.size(); ++i) {
        if (i > 0) out += ", ";
        append_literal(out, literal.items[i], order);
      }
      out += ']';
      break;
    case Literal::Kind::Object:
      append_object(out, literal, order);
      break;
    default:
      out += literal.text;
  }
}

std::string inspect_at(const json::Value& value, unsigned depth) {
  constexpr std::size_t kItemsMax = 10;
  constexpr unsigned kDepthMax = 2;
  if (const json::Array* items = value.as_array()) {
    if (items->empty()) return "[]";
    if (depth >= kDepthMax) return "[Array]";
    std::string out = "[";
    for (std::size_t i = 0; i < std::min(items->size(), kItemsMax); ++i) {
      out += (i > 0 ? ", " : "") + inspect_at((*items)[i], depth + 1);
    }
    if (items->size() == kItemsMax + 1) out += ", ... 1 more item";
    if (items->size() > kItemsMax + 1) out += ", ... " + std::to_string(items->size() - kItemsMax) + " more items";
    return out + "]";
  }
  if (const json::Object* members = value.as_object()) {
    if (members->empty()) return "{}";
    if (depth >= kDepthMax) return "[Object]";
    std::string out = "{ ";
    for (std::size_t i = 0; i < members->size(); ++i) {
      out += (i > 0 ? ", " : "") + (*members)[i].first + ": " + inspect_at((*members)[i].second, depth + 1);
    }
    return out + " }";
  }
  std::string text = json::write(value);
  if (value.as_string() == nullptr && text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

/// Insertions, deletions, substitutions and swaps of neighbours that make `b` of `a` (optimal string alignment).
std::size_t edits_between(std::string_view a, std::string_view b) {
  std::array<std::vector<std::size_t>, 3> rows;
  for (auto& row : rows) row.resize(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) rows[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    const auto& above = rows[(i - 1) % 3];
    auto& row = rows[i % 3];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      const bool is_swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (is_swap) row[j] = std::min(row[j], rows[(i - 2) % 3][j - 2] + 1);
    }
  }
  return rows[a.size() % 3][b.size()];
}

/// The edits, where there are at most `maximum`. Another case of letters counts as one.
std::optional<std::size_t> distance(std::string_view input, std::string_view option, std::size_t maximum) {
  if (input == option) return 0;
  const std::string a = lower(input), b = lower(option);
  if (a == b) return 1;
  const std::size_t longer = std::max(a.size(), b.size()), shorter = std::min(a.size(), b.size());
  if (longer - shorter > maximum) return std::nullopt;
  const std::size_t edits = edits_between(a, b);
  return edits <= maximum ? std::optional(edits) : std::nullopt;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// The digits at the front without zeros before them; removes them from `text`.
std::string_view take_number(std::string_view& text) {
  std::size_t size = 0;
  while (size < text.size() && is_digit(text[size])) ++size;
  std::string_view number = text.substr(0, size);
  text.remove_prefix(size);
  number.remove_prefix(std::min(number.find_first_not_of('0'), number.size()));
  return number;
}

}  // namespace

std::string print(const Literal& literal) {
  std::string out;
  append_literal(out, literal, FieldOrder::AsWritten);
  return out;
}

std::string print_sorted(const Literal& literal) {
  std::string out;
  append_literal(out, literal, FieldOrder::Sorted);
  return out;
}

std::string print(const TypeReference& type) {
  std::string text = type.name;
  for (auto wrapper = type.wrappers.rbegin(); wrapper != type.wrappers.rend(); ++wrapper) {
    text = *wrapper == Wrapper::NonNull ? text + "!" : "[" + text + "]";
  }
  return text;
}

std::string print_string(std::string_view text) {
  static constexpr std::string_view kSpecial = "\"\\\b\f\n\r\t";
  static constexpr std::string_view kEscaped = "\"\\bfnrt";
  std::string out = "\"";
  for (const char c : text) {
    if (const std::size_t which = kSpecial.find(c); which != std::string_view::npos) {
      out += '\\';
      out += kEscaped[which];
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      std::array<char, 8> code{};
      std::snprintf(code.data(), code.size(), "\\u%04X", static_cast<unsigned>(c));
      out += code.data();
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string print_block_string(std::string_view text, std::string_view indentation) {
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t'; };
  if (block_string_value("\n" + std::string(text)) != text || std::ranges::any_of(text, is_control)) {
    return print_string(text);
  }
  std::string escaped;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i).starts_with("\"\"\"")) escaped += '\\';
    escaped += text[i];
    const bool begins_line = text[i] == '\n' && i + 1 < text.size() && text[i + 1] != '\n';
    if (begins_line) escaped += indentation;
  }
  constexpr std::size_t kOneLineMax = 70;
  const bool is_one_line =
      !text.contains('\n') && text.size() <= kOneLineMax && !text.ends_with('"') && !text.ends_with('\\');
  if (is_one_line) return "\"\"\"" + escaped + "\"\"\"";
  const std::string line_end = "\n" + std::string(indentation);
  return "\"\"\"" + line_end + escaped + line_end + "\"\"\"";
}

std::string inspect(const json::Value& value) {
  return inspect_at(value, 0);
}

std::string did_you_mean(const std::vector<std::string>& suggestions, std::string_view what) {
  constexpr std::size_t kSuggestionsMax = 5;
  const std::size_t count = std::min(suggestions.size(), kSuggestionsMax);
  if (count == 0) return {};
  std::string message = " Did you mean ";
  if (!what.empty()) message += std::string(what) + " ";
  for (std::size_t i = 0; i < count; ++i) {
    if (i > 0) message += count == 2 ? " " : ", ";
    if (i > 0 && i + 1 == count) message += "or ";
    message += "\"" + suggestions[i] + "\"";
  }
  return message + "?";
}

std::vector<std::string> suggestions(std::string_view input, const std::vector<std::string>& options) {
  std::vector<std::pair<std::size_t, std::string>> near;
  for (const std::string& option : options) {
    if (const auto edits = distance(input, option, input.size() * 2 / 5 + 1)) near.emplace_back(*edits, option);
  }
  std::ranges::sort(near, [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : is_naturally_less(a.second, b.second);
  });
  near.erase(std::ranges::unique(near).begin(), near.end());
  std::vector<std::string> names;
  for (auto& [edits, name] : near) names.push_back(std::move(name));
  return names;
}

bool is_naturally_less(std::string_view a, std::string_view b) {
  while (!a.empty() && !b.empty()) {
    if (is_digit(a.front()) && is_digit(b.front())) {
      const std::string_view x = take_number(a), y = take_number(b);
      if (x.size() != y.size()) return x.size() < y.size();
      if (x != y) return x < y;
      continue;
    }
    if (a.front() != b.front()) return a.front() < b.front();
    a.remove_prefix(1);
    b.remove_prefix(1);
  }
  return a.size() < b.size();
}

}  // namespace postern::graphql
