#include "services/client/proxy/proxy_options.hpp"

#include <charconv>

#include "runtime/os/files.hpp"

namespace postern::client {

namespace {

using config::ExitCode;

/// RFC 1929 has one byte for each length.
constexpr std::size_t kPartMax = 255;

bool is_loopback(const IpAddress& address) {
  return address.is_v4() ? address.bytes()[0] == 127 : address == IpAddress::parse("::1");
}

std::expected<ProxyLogin, Problem> read_login(const std::string& file) {
  const auto bytes = runtime::read_secret_file(file, 4096);
  if (!bytes) return std::unexpected(Problem{ExitCode::Usage, "--proxy-password-file: " + bytes.error().text});
  std::string_view line = as_text(*bytes);
  line = line.substr(0, line.find_first_of("\r\n"));
  const std::size_t colon = line.find(':');
  const bool is_whole = colon != std::string_view::npos && colon > 0 && colon <= kPartMax && colon + 1 < line.size() &&
                        line.size() - colon - 1 <= kPartMax;
  if (is_whole) return ProxyLogin{std::string(line.substr(0, colon)), std::string(line.substr(colon + 1))};
  return std::unexpected(Problem{ExitCode::Usage, "--proxy-password-file: the first line of " + file +
                                                      " is not USER:PASSWORD with 1 to 255 bytes each: write it so"});
}

}  // namespace

std::expected<SocketAddress, Problem> parse_proxy_address(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error == std::errc() && end == text.data() + text.size() && !text.empty()) {
    return SocketAddress{IpAddress::v4(127, 0, 0, 1), port};
  }
  if (const auto address = SocketAddress::parse(text)) return *address;
  return std::unexpected(Problem{
      ExitCode::Usage, "--proxy: \"" + std::string(text) + "\" is no ADDRESS:PORT: use 127.0.0.1:1080, for example"});
}

std::expected<ProxyConfig, Problem> load_proxy_config(const SocketAddress& listen, const std::string& password_file) {
  ProxyConfig config;
  config.listen = listen;
  if (!password_file.empty()) {
    auto login = read_login(password_file);
    if (!login) return std::unexpected(login.error());
    config.login = std::move(*login);
  } else if (!is_loopback(listen.ip)) {
    return std::unexpected(
        Problem{ExitCode::Usage, "--proxy: other machines can reach " + listen.to_string() +
                                     ": give --proxy-password-file, or listen on 127.0.0.1 or [::1]"});
  }
  return config;
}

}  // namespace postern::client
