// Where agents find the relay of this server, also when its name moves to another address (dynamic DNS).
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/ip.hpp"
#include "runtime/http/io_loop.hpp"
#include "services/server/public_address.hpp"

namespace postern::server {

/// What needs no look-up: `given`, or the address in the URL. Empty when the URL has a name.
[[nodiscard]] std::vector<SocketAddress> known_relay_addresses(const std::vector<PublicAddress>& given,
                                                               std::string_view url);
/// Asks the host's resolver, which may take long; sorted, at most 8, empty when the name is not known.
[[nodiscard]] std::vector<SocketAddress> look_up(const PublicAddress& address);

/// Looks a name up in a thread of its own: at once, then every 5 minutes, every 10 seconds as long as it is not known.
class AddressWatch {
 public:
  /// On `loop`'s thread, whenever the answer differs from the one before; empty when the name is not known (once).
  using Changed = std::function<void(std::vector<SocketAddress>)>;

  AddressWatch(runtime::IoLoop& loop, PublicAddress address, Changed changed);
  ~AddressWatch();

 private:
  void watch();

  runtime::IoLoop& loop_;
  PublicAddress address_;
  Changed changed_;
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace postern::server
