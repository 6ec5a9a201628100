// Relays that are reached by a name: looks their names up, again and again, and tells the controller.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "services/server/controller_host.hpp"
#include "services/server/relay_addresses.hpp"

namespace postern::server {

class RelayNames {
 public:
  /// Watched at once; a name beyond is not looked up until the server starts again. Names are watched until then:
  /// ending a look-up would wait for the resolver.
  static constexpr std::size_t kWatchesMax = 64;

  RelayNames(runtime::IoLoop& loop, ControllerHost& host, runtime::Logger& log) : loop_(loop), host_(host), log_(log) {}

  /// The relays may have changed.
  void follow();

 private:
  struct Watch {
    std::vector<SocketAddress> found;
    std::unique_ptr<AddressWatch> watch;
  };
  void tell(const controller::RelayRecord& relay);

  runtime::IoLoop& loop_;
  ControllerHost& host_;
  runtime::Logger& log_;
  std::map<std::string, Watch> watches_;  // by "host:port"
  std::map<model::RelayId, std::vector<SocketAddress>> told_;
};

}  // namespace postern::server
