// Where agents find the relay of this server.
#pragma once

#include <expected>
#include <string_view>
#include <vector>

#include "base/ip.hpp"
#include "services/server/public_address.hpp"
#include "services/server/server_error.hpp"

namespace postern::server {

/// `given`, or the addresses of the URL's host (a name is looked up, which may take some seconds) with the URL's port.
[[nodiscard]] std::expected<std::vector<SocketAddress>, ServerError> relay_addresses(
    const std::vector<PublicAddress>& given, std::string_view url);

}  // namespace postern::server
