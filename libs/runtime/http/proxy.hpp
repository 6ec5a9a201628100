// Whether a server is reached through an HTTP proxy, and through which one: the rules of curl for HTTPS_PROXY and
// NO_PROXY.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace postern::runtime {

struct HttpProxy {
  std::string host{};  ///< name or address, without brackets
  std::uint16_t port = 0;
  std::string authorization{};  ///< "Basic …", a secret; empty: none
  [[nodiscard]] std::string name() const;
};

class ProxyRules {
 public:
  /// "http://[user[:password]@]host[:port]", the scheme may be missing, the port is 1080 then as with curl;
  /// `exceptions` is a list of names, addresses and prefixes with commas or blanks between, "*" for all. The error is a
  /// phrase without the secret in it.
  [[nodiscard]] static std::expected<ProxyRules, std::string> parse(std::string_view url, std::string_view exceptions);

  /// Nothing when the host is reached without a proxy.
  [[nodiscard]] const HttpProxy* proxy_for(std::string_view host) const;
  [[nodiscard]] const HttpProxy& proxy() const { return proxy_; }

 private:
  HttpProxy proxy_;
  std::vector<std::string> exceptions_;
};

/// Nothing: no proxy at all.
using Proxies = std::shared_ptr<const ProxyRules>;

/// The values of the options https-proxy and no-proxy; empty and "none" are no proxy.
[[nodiscard]] std::expected<Proxies, std::string> parse_proxies(std::string_view url, std::string_view exceptions);
/// For the option https-proxy: what is wrong with it; empty when it can be used.
[[nodiscard]] std::string check_proxy(std::string_view url);

inline constexpr std::string_view kProxySentence =
    "HTTP proxy for everything that goes over TLS, http://[NAME:PASSWORD@]HOST[:PORT]; none switches it off.";
inline constexpr std::string_view kNoProxySentence =
    "Hosts that are reached without the proxy: names with what is below them, addresses, prefixes, * for all.";

}  // namespace postern::runtime
