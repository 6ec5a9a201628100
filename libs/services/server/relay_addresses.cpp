#include "services/server/relay_addresses.hpp"

#include <netdb.h>

#include <algorithm>
#include <memory>

#include "runtime/udp/socket_address.hpp"

namespace postern::server {
namespace {

constexpr std::size_t kAddressesMax = 8;

std::vector<SocketAddress> look_up(const PublicAddress& address) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_DGRAM;
  wanted.ai_flags = AI_ADDRCONFIG;
  addrinfo* raw = nullptr;
  if (::getaddrinfo(address.host.c_str(), nullptr, &wanted, &raw) != 0) return {};
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> list(raw, &::freeaddrinfo);
  std::vector<SocketAddress> found;
  for (const addrinfo* each = list.get(); each != nullptr && found.size() < kAddressesMax; each = each->ai_next) {
    sockaddr_storage storage{};
    std::memcpy(&storage, each->ai_addr, each->ai_addrlen);
    auto socket = runtime::from_kernel(storage);
    if (!socket) continue;
    socket->port = address.port;
    if (std::ranges::find(found, *socket) == found.end()) found.push_back(*socket);
  }
  return found;
}

}  // namespace

std::expected<std::vector<SocketAddress>, ServerError> relay_addresses(const std::vector<PublicAddress>& given,
                                                                       std::string_view url) {
  std::vector<SocketAddress> addresses;
  for (const PublicAddress& each : given) addresses.push_back({*each.ip(), each.port});
  if (!addresses.empty()) return addresses;
  const auto own = PublicAddress::parse_url(url);
  if (own && own->ip()) return std::vector{SocketAddress{*own->ip(), own->port}};
  if (own) addresses = look_up(*own);
  if (!addresses.empty()) return addresses;
  return std::unexpected(
      ServerError{config::ExitCode::Unreachable,
                  "the address of " + std::string(url) +
                      " cannot be looked up, and agents need it for the relay; give it with --public-address"});
}

}  // namespace postern::server
