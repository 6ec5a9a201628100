#include "graphql/media_type.hpp"

#include <algorithm>
#include <charconv>

namespace postern::graphql {
namespace {

constexpr std::string_view kBlank = " \t";

std::string_view trimmed(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kBlank), text.size()));
  return text.substr(0, text.find_last_not_of(kBlank) + 1);
}

/// What stands before the separator, without blanks; removes both from `text`.
std::string_view take_part(std::string_view& text, char separator) {
  const std::size_t end = std::min(text.find(separator), text.size());
  const std::string_view part = trimmed(text.substr(0, end));
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

bool is_equal_without_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::ranges::equal(a, b, {}, lower, lower);
}

/// The value of a parameter, without quotes.
std::optional<std::string_view> parameter(std::string_view parameters, std::string_view name) {
  while (!parameters.empty()) {
    std::string_view value = take_part(parameters, ';');
    if (!is_equal_without_case(take_part(value, '='), name)) continue;
    value = trimmed(value);
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
    return value;
  }
  return std::nullopt;
}

/// 1 without one, 0 for one that is none.
double weight(std::string_view parameters) {
  const auto text = parameter(parameters, "q");
  if (!text) return 1;
  double value = 0;
  const auto read = std::from_chars(text->data(), text->data() + text->size(), value);
  return read.ec == std::errc{} && value >= 0 && value <= 1 ? value : 0;
}

std::optional<MediaType> match(std::string_view range) {
  if (is_equal_without_case(range, "application/graphql-response+json")) return MediaType::GraphqlResponse;
  for (const std::string_view known : {"application/json", "application/*", "*/*"}) {
    if (is_equal_without_case(range, known)) return MediaType::Json;
  }
  return std::nullopt;
}

}  // namespace

std::string_view content_type(MediaType type) {
  return type == MediaType::Json ? "application/json; charset=utf-8"
                                 : "application/graphql-response+json; charset=utf-8";
}

std::optional<MediaType> negotiate(std::string_view accept) {
  if (trimmed(accept).empty()) return MediaType::Json;
  std::optional<MediaType> best;
  double best_weight = 0;
  while (!accept.empty()) {
    std::string_view parameters = take_part(accept, ',');
    const auto type = match(take_part(parameters, ';'));
    if (!type || weight(parameters) <= best_weight) continue;
    best = type;
    best_weight = weight(parameters);
  }
  return best;
}

bool is_json_body(std::string_view content_type) {
  if (!is_equal_without_case(take_part(content_type, ';'), "application/json")) return false;
  const auto charset = parameter(content_type, "charset");
  return !charset || is_equal_without_case(*charset, "utf-8");
}

}  // namespace postern::graphql
