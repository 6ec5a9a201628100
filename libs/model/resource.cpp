#include "model/resource.hpp"

#include <algorithm>
#include <charconv>

namespace postern::model {

namespace {

constexpr std::size_t kNameSizeMax = 253;  // RFC 1035 §2.3.4, without the root's dot
constexpr std::size_t kLabelSizeMax = 63;

char fold(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_wildcard(char c) {
  return c == '*' || c == '?';
}
bool is_label_character(char c) {
  return (c >= 'a' && c <= 'z') || is_digit(c) || c == '_' || c == '-';
}

/// Folded and without one trailing dot; nothing when a label is empty or too long or has a character of no name.
template <typename Allowed>
std::optional<std::string> parse_labels(std::string_view text, Allowed allowed) {
  if (text.ends_with('.')) text.remove_suffix(1);
  if (text.empty() || text.size() > kNameSizeMax) return std::nullopt;
  std::string folded;
  folded.reserve(text.size());
  std::size_t label = 0;
  for (const char raw : text) {
    const char c = fold(raw);
    if (c == '.') {
      if (label == 0) return std::nullopt;
      label = 0;
    } else if (!allowed(c) || ++label > kLabelSizeMax) {
      return std::nullopt;
    }
    folded.push_back(c);
  }
  if (label == 0) return std::nullopt;
  return folded;
}

/// "300.1.1.1" and "10.0.0.*" are mistyped addresses, not names: no top-level domain is a number.
bool looks_like_an_address(std::string_view text) {
  const std::string_view last = text.substr(text.rfind('.') + 1);
  const bool numeric = std::ranges::all_of(last, is_digit);
  const bool numeric_pattern =
      std::ranges::all_of(text, [](char c) { return is_digit(c) || is_wildcard(c) || c == '.'; }) &&
      std::ranges::any_of(text, is_digit);
  return numeric || numeric_pattern;
}

/// True when "ADDRESS/LENGTH" is well formed, so that the only thing wrong with it is bits right of the length.
bool is_prefix_with_host_bits(std::string_view text) {
  const std::size_t slash = text.find('/');
  const auto address = IpAddress::parse(text.substr(0, slash));
  if (slash == std::string_view::npos || !address) return false;
  const std::string_view digits = text.substr(slash + 1);
  unsigned length = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  return error == std::errc{} && end == digits.data() + digits.size() && length <= (address->is_v4() ? 32U : 128U);
}

std::string_view trim(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

std::optional<PortRange> parse_range(std::string_view text) {
  const std::size_t dash = text.find('-');
  const auto first = parse_port(trim(text.substr(0, dash)));
  const auto last = dash == std::string_view::npos ? first : parse_port(trim(text.substr(dash + 1)));
  if (!first || !last || *last < *first) return std::nullopt;
  return PortRange{*first, *last};
}

/// Sorted, with overlapping and neighbouring ranges joined.
std::vector<PortRange> joined(std::vector<PortRange> ranges) {
  std::ranges::sort(ranges);
  std::vector<PortRange> result;
  for (const PortRange& range : ranges) {
    if (!result.empty() && range.first <= std::uint32_t{result.back().last} + 1) {
      result.back().last = std::max(result.back().last, range.last);
    } else {
      result.push_back(range);
    }
  }
  return result;
}

}  // namespace

std::optional<DnsName> DnsName::parse(std::string_view text) {
  auto folded = parse_labels(text, is_label_character);
  if (!folded) return std::nullopt;
  DnsName name;
  name.text_ = std::move(*folded);
  return name;
}

std::optional<DnsPattern> DnsPattern::parse(std::string_view text) {
  auto folded = parse_labels(text, [](char c) { return is_label_character(c) || is_wildcard(c); });
  if (!folded || std::ranges::none_of(*folded, is_wildcard)) return std::nullopt;
  DnsPattern pattern;
  pattern.text_ = std::move(*folded);
  return pattern;
}

bool DnsPattern::matches(const DnsName& name) const {
  // Greedy with one point to return to: the last `*` takes one character more each time what follows it does not fit.
  const std::string_view subject = name.text();
  std::size_t at = 0;
  std::size_t pattern_at = 0;
  std::optional<std::size_t> star;
  std::size_t star_end = 0;
  while (at < subject.size()) {
    if (pattern_at < text_.size() && text_[pattern_at] == '*') {
      star = pattern_at++;
      star_end = at;
    } else if (pattern_at < text_.size() && (text_[pattern_at] == '?' || text_[pattern_at] == subject[at])) {
      ++pattern_at;
      ++at;
    } else if (star) {
      pattern_at = *star + 1;
      at = ++star_end;
    } else {
      return false;
    }
  }
  return text_.find_first_not_of('*', pattern_at) == std::string::npos;
}

std::size_t DnsPattern::literal_characters() const {
  return static_cast<std::size_t>(std::ranges::count_if(text_, [](char c) { return !is_wildcard(c); }));
}

std::expected<ResourceAddress, ResourceAddress::Error> ResourceAddress::parse(std::string_view text) {
  if (text.empty()) return std::unexpected(Error::Empty);
  ResourceAddress address;
  if (const auto prefix = IpPrefix::parse(text)) {
    address.value_ = *prefix;
    return address;
  }
  if (is_prefix_with_host_bits(text)) return std::unexpected(Error::HostBitsSet);
  if (auto name = DnsName::parse(text); name && !looks_like_an_address(name->text())) {
    address.value_ = std::move(*name);
    return address;
  }
  if (auto pattern = DnsPattern::parse(text); pattern && !looks_like_an_address(pattern->text())) {
    address.value_ = std::move(*pattern);
    return address;
  }
  return std::unexpected(Error::InvalidIpOrFqdn);
}

bool ResourceAddress::matches(const DnsName& name) const {
  if (const auto* literal = std::get_if<DnsName>(&value_)) return *literal == name;
  if (const auto* pattern = std::get_if<DnsPattern>(&value_)) return pattern->matches(name);
  return false;
}

bool ResourceAddress::matches(const IpAddress& address) const {
  const auto* prefix = std::get_if<IpPrefix>(&value_);
  return prefix != nullptr && prefix->contains(address);
}

bool ResourceAddress::more_specific_than(const ResourceAddress& other) const {
  const auto* prefix = std::get_if<IpPrefix>(&value_);
  const auto* other_prefix = std::get_if<IpPrefix>(&other.value_);
  if (prefix != nullptr && other_prefix != nullptr) {
    return prefix->address().family() == other_prefix->address().family() && prefix->length() > other_prefix->length();
  }
  const auto* other_pattern = std::get_if<DnsPattern>(&other.value_);
  if (other_pattern == nullptr) return false;
  if (std::holds_alternative<DnsName>(value_)) return true;
  const auto* pattern = std::get_if<DnsPattern>(&value_);
  return pattern != nullptr && pattern->literal_characters() > other_pattern->literal_characters();
}

bool ResourceAddress::is_literal() const {
  const auto* prefix = std::get_if<IpPrefix>(&value_);
  return prefix != nullptr ? prefix->is_host() : std::holds_alternative<DnsName>(value_);
}

std::string ResourceAddress::text() const {
  if (const auto* prefix = std::get_if<IpPrefix>(&value_)) {
    return prefix->is_host() ? prefix->address().to_string() : prefix->to_string();
  }
  if (const auto* name = std::get_if<DnsName>(&value_)) return name->text();
  return std::get<DnsPattern>(value_).text();
}

std::optional<ProtocolRule> ProtocolRule::parse(std::string_view text) {
  text = trim(text);
  ProtocolRule rule;
  if (text.empty() || text == "*") return rule;
  if (text == "none") {
    rule.policy = PortPolicy::DenyAll;
    return rule;
  }
  rule.policy = PortPolicy::Restricted;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t comma = std::min(text.find(',', start), text.size());
    const auto range = parse_range(trim(text.substr(start, comma - start)));
    if (!range) return std::nullopt;
    rule.ports.push_back(*range);
    start = comma + 1;
  }
  rule.ports = joined(std::move(rule.ports));
  return rule;
}

bool ProtocolRule::allows(std::uint16_t port) const {
  switch (policy) {
    case PortPolicy::AllowAll:
      return true;
    case PortPolicy::DenyAll:
      return false;
    case PortPolicy::Restricted:
      return std::ranges::any_of(ports,
                                 [&](const PortRange& range) { return range.first <= port && port <= range.last; });
  }
  return false;
}

std::string ProtocolRule::text() const {
  if (policy == PortPolicy::AllowAll) return "*";
  if (policy == PortPolicy::DenyAll || ports.empty()) return "none";
  std::string result;
  for (const PortRange& range : ports) {
    if (!result.empty()) result += ',';
    result += std::to_string(range.first);
    if (range.last != range.first) result += '-' + std::to_string(range.last);
  }
  return result;
}

std::string_view to_string(Protocol protocol) {
  constexpr std::array<std::string_view, 4> kNames = {"tcp", "udp", "icmp", "dns"};
  return kNames[static_cast<std::size_t>(protocol)];
}

}  // namespace postern::model
