#include "services/server/relay_addresses.hpp"

#include <netdb.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "runtime/udp/socket_address.hpp"

namespace postern::server {
namespace {

constexpr std::size_t kAddressesMax = 8;

constexpr std::chrono::minutes kLookUpEvery{5};
constexpr std::chrono::seconds kLookUpAgain{10};

}  // namespace

std::vector<SocketAddress> known_relay_addresses(const std::vector<PublicAddress>& given, std::string_view url) {
  std::vector<SocketAddress> addresses;
  for (const PublicAddress& each : given) addresses.push_back({*each.ip(), each.port});
  if (!addresses.empty()) return addresses;
  const auto own = PublicAddress::parse_url(url);
  if (own && own->ip()) addresses.push_back({*own->ip(), own->port});
  return addresses;
}

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
  std::ranges::sort(found);  // resolvers rotate their answers
  return found;
}

AddressWatch::AddressWatch(runtime::IoLoop& loop, PublicAddress address, Changed changed)
    : loop_(loop), address_(std::move(address)), changed_(std::move(changed)), thread_([this] { watch(); }) {}

AddressWatch::~AddressWatch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stopped_.notify_all();
  thread_.join();
}

void AddressWatch::watch() {
  std::optional<std::vector<SocketAddress>> last;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    std::vector<SocketAddress> found = look_up(address_);
    // A name that is not known for a while is a fault of the resolver: agents keep what they have.
    const bool tell = !last || (*last != found && !found.empty());
    const auto wait = found.empty() ? std::chrono::seconds(kLookUpAgain) : std::chrono::seconds(kLookUpEvery);
    if (tell) {
      last = found;
      loop_.post([this, found] { changed_(found); });
    }
    lock.lock();
    stopped_.wait_for(lock, wait, [this] { return stopping_; });
  }
}

}  // namespace postern::server
