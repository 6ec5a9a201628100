#include "mapping/xml.hpp"

#include <array>
#include <utility>

namespace postern::mapping {

namespace {

struct Tag {
  std::size_t begin = 0;  ///< of '<'
  std::size_t end = 0;    ///< behind '>'
  std::string_view name;  ///< without prefix
  bool is_closing = false;
  bool is_empty = false;
};

constexpr std::string_view kBlanks = " \t\r\n";

/// The next tag at or behind `at`; comments, declarations and instructions are passed over.
std::optional<Tag> next_tag(std::string_view xml, std::size_t at) {
  while ((at = xml.find('<', at)) != std::string_view::npos) {
    const std::string_view rest = xml.substr(at);
    const bool is_comment = rest.starts_with("<!--");
    const std::size_t close = is_comment ? xml.find("-->", at) : xml.find('>', at);
    if (close == std::string_view::npos) return std::nullopt;
    const std::size_t end = close + (is_comment ? 3 : 1);
    if (rest.starts_with("<!") || rest.starts_with("<?")) {
      at = end;
      continue;
    }
    Tag tag{.begin = at, .end = end, .name = xml.substr(at + 1, close - at - 1)};
    tag.is_closing = tag.name.starts_with('/');
    if (tag.is_closing) tag.name.remove_prefix(1);
    tag.is_empty = tag.name.ends_with('/');
    if (tag.is_empty) tag.name.remove_suffix(1);
    tag.name = tag.name.substr(0, tag.name.find_first_of(kBlanks));
    if (const auto colon = tag.name.find(':'); colon != std::string_view::npos) tag.name.remove_prefix(colon + 1);
    return tag;
  }
  return std::nullopt;
}

std::string resolved(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, char>, 5> kEntities{
      {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}}};
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t used = 1;
    char c = text[at];
    for (const auto& [entity, meant] : kEntities) {
      if (!text.substr(at).starts_with(entity)) continue;
      used = entity.size();
      c = meant;
    }
    result += c;
    at += used;
  }
  return result;
}

}  // namespace

std::vector<std::string_view> elements(std::string_view xml, std::string_view name, std::size_t max) {
  std::vector<std::string_view> found;
  for (auto tag = next_tag(xml, 0); tag && found.size() < max; tag = next_tag(xml, tag->end)) {
    if (tag->is_closing || tag->name != name) continue;
    if (tag->is_empty) {
      found.emplace_back();
      continue;
    }
    const std::size_t begin = tag->end;
    while (tag && !(tag->is_closing && tag->name == name)) tag = next_tag(xml, tag->end);
    if (!tag) break;  // never closed: nothing behind it can be told apart
    found.push_back(xml.substr(begin, tag->begin - begin));
  }
  return found;
}

std::optional<std::string> element_text(std::string_view xml, std::string_view name) {
  const auto found = elements(xml, name, 1);
  if (found.empty()) return std::nullopt;
  std::string_view text = found.front();
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return "";
  text = text.substr(first, text.find_last_not_of(kBlanks) + 1 - first);
  return resolved(text);
}

}  // namespace postern::mapping
