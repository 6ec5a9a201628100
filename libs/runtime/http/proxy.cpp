#include "runtime/http/proxy.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <charconv>

#include "base/ip.hpp"

namespace postern::runtime {
namespace {

constexpr std::uint16_t kPortDefault = 1080;
constexpr std::size_t kUrlMax = 1024;
constexpr std::size_t kExceptionsMax = 256;

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
  return result;
}

std::string percent_decoded(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size(); ++at) {
    unsigned value = 0;
    const bool is_escape = text[at] == '%' && at + 2 < text.size();
    const auto end = text.data() + at + 3;
    if (is_escape && std::from_chars(text.data() + at + 1, end, value, 16).ptr == end) {
      result += static_cast<char>(value);
      at += 2;
    } else {
      result += text[at];
    }
  }
  return result;
}

std::string base64(std::string_view text) {
  std::string result((text.size() + 2) / 3 * 4 + 1, '\0');
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(result.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  result.resize(static_cast<std::size_t>(size));
  return result;
}

bool is_host(std::string_view host) {
  if (IpAddress::parse(host)) return true;
  return !host.empty() && host.size() <= 253 && std::ranges::all_of(host, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  });
}

std::expected<void, std::string> parse_authority(std::string_view text, HttpProxy& proxy) {
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) return std::unexpected("its address has no closing bracket");
    proxy.host = lower(text.substr(1, end - 1));
    port = text.substr(end + 1);
  } else {
    proxy.host = lower(text.substr(0, text.find(':')));
    port = text.substr(std::min(proxy.host.size(), text.size()));
  }
  if (!is_host(proxy.host)) return std::unexpected("it names no host");
  proxy.port = kPortDefault;
  if (port.empty()) return {};
  const auto end = port.data() + port.size();
  if (!port.starts_with(':')) return std::unexpected("what follows its host is no port");
  const auto [stop, error] = std::from_chars(port.data() + 1, end, proxy.port);
  const bool is_number = error == std::errc() && stop == end;
  if (!is_number || proxy.port == 0) return std::unexpected("its port is not a number from 1 to 65535");
  return {};
}

std::string_view without_brackets(std::string_view text) {
  return text.starts_with('[') && text.ends_with(']') ? text.substr(1, text.size() - 2) : text;
}

bool excepts(std::string_view entry, std::string_view host) {
  if (entry == "*") return true;
  if (const auto address = IpAddress::parse(without_brackets(host))) {
    const auto prefix = IpPrefix::parse(without_brackets(entry));
    return prefix && prefix->contains(*address);
  }
  if (entry.starts_with('.')) entry.remove_prefix(1);
  if (entry.empty()) return false;
  return host == entry ||
         (host.size() > entry.size() && host.ends_with(entry) && host[host.size() - entry.size() - 1] == '.');
}

}  // namespace

std::string HttpProxy::name() const {
  const std::string text = host.contains(':') ? '[' + host + ']' : host;
  return text + ':' + std::to_string(port);
}

std::expected<ProxyRules, std::string> ProxyRules::parse(std::string_view url, std::string_view exceptions) {
  if (url.size() > kUrlMax) return std::unexpected("it is longer than 1024 characters");
  if (const std::size_t mark = url.find("://"); mark != std::string_view::npos) {
    if (lower(url.substr(0, mark)) != "http") return std::unexpected("only http:// proxies are known");
    url.remove_prefix(mark + 3);
  }
  url = url.substr(0, url.find('/'));
  ProxyRules rules;
  if (const std::size_t mark = url.rfind('@'); mark != std::string_view::npos) {
    const std::string_view who = url.substr(0, mark);
    const std::size_t colon = who.find(':');
    const std::string_view password = colon == std::string_view::npos ? std::string_view() : who.substr(colon + 1);
    rules.proxy_.authorization =
        "Basic " + base64(percent_decoded(who.substr(0, colon)) + ':' + percent_decoded(password));
    url.remove_prefix(mark + 1);
  }
  if (auto parsed = parse_authority(url, rules.proxy_); !parsed) return std::unexpected(parsed.error());
  constexpr std::string_view kBetween = ", \t";
  while (rules.exceptions_.size() < kExceptionsMax) {
    const std::size_t start = exceptions.find_first_not_of(kBetween);
    if (start == std::string_view::npos) break;
    exceptions.remove_prefix(start);
    rules.exceptions_.push_back(lower(exceptions.substr(0, exceptions.find_first_of(kBetween))));
    exceptions.remove_prefix(rules.exceptions_.back().size());
  }
  return rules;
}

std::expected<Proxies, std::string> parse_proxies(std::string_view url, std::string_view exceptions) {
  if (url.empty() || url == "none") return Proxies();
  auto rules = ProxyRules::parse(url, exceptions);
  if (!rules) return std::unexpected(rules.error());
  return std::make_shared<const ProxyRules>(std::move(*rules));
}

std::string check_proxy(std::string_view url) {
  const auto proxies = parse_proxies(url, "");
  return proxies ? "" : "cannot be used as a proxy: " + proxies.error();
}

const HttpProxy* ProxyRules::proxy_for(std::string_view host) const {
  std::string wanted = lower(host);
  if (wanted.ends_with('.')) wanted.pop_back();
  const bool is_excepted =
      std::ranges::any_of(exceptions_, [&](const std::string& entry) { return excepts(entry, wanted); });
  return is_excepted ? nullptr : &proxy_;
}

}  // namespace postern::runtime
