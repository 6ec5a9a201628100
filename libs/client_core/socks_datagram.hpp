// The header that SOCKS5 puts before every UDP payload, towards the proxy and back (RFC 1928 §7). Pure.
#pragma once

#include <cstdint>
#include <expected>
#include <string>

#include "base/bytes.hpp"
#include "client_core/destination.hpp"

namespace postern::client {

struct SocksDatagram {
  Destination to;  ///< of UDP, with a port
  ByteView payload;
};
enum class SocksDatagramError : std::uint8_t {
  Malformed,
  Fragment,  ///< FRAG is not 0; whoever does not put pieces together must drop them
};

[[nodiscard]] std::expected<SocksDatagram, SocksDatagramError> parse_socks_datagram(ByteView datagram);
/// Before a payload that has come from there.
[[nodiscard]] std::string build_socks_header(const Destination& from);

}  // namespace postern::client
