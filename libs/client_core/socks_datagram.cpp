#include "client_core/socks_datagram.hpp"

namespace postern::client {

namespace {

constexpr std::uint8_t kIpV4 = 1;
constexpr std::uint8_t kName = 3;
constexpr std::uint8_t kIpV6 = 4;

}  // namespace

std::expected<SocksDatagram, SocksDatagramError> parse_socks_datagram(ByteView datagram) {
  ByteReader reader(datagram);
  const std::uint16_t reserved = reader.u16();
  const std::uint8_t fragment = reader.u8();
  const std::uint8_t type = reader.u8();
  std::size_t size = type == kIpV4 ? 4 : 16;
  if (type == kName) size = reader.u8();
  const ByteView host = reader.view(size);
  SocksDatagram result;
  result.to.protocol = model::Protocol::Udp;
  result.to.port = reader.u16();
  const bool is_known = type == kIpV4 || type == kName || type == kIpV6;
  if (!reader.ok() || reserved != 0 || !is_known || *result.to.port == 0) {
    return std::unexpected(SocksDatagramError::Malformed);
  }
  if (fragment != 0) return std::unexpected(SocksDatagramError::Fragment);
  if (type == kName) {
    auto parsed = parse_host(as_text(host));
    if (!parsed) return std::unexpected(SocksDatagramError::Malformed);
    result.to.host = std::move(*parsed);
  } else {
    result.to.host = *IpAddress::from_bytes(host);
  }
  result.payload = datagram.subspan(datagram.size() - reader.remaining());
  return result;
}

std::string build_socks_header(const Destination& from) {
  std::string header(3, '\0');
  if (const auto* address = std::get_if<IpAddress>(&from.host)) {
    header += static_cast<char>(address->is_v4() ? kIpV4 : kIpV6);
    header += as_text(address->bytes());
  } else {
    const std::string& name = std::get<model::DnsName>(from.host).text();  // at most 253 bytes
    header += static_cast<char>(kName);
    header += static_cast<char>(name.size());
    header += name;
  }
  const std::uint16_t port = from.port.value_or(0);
  header += static_cast<char>(port >> 8);
  header += static_cast<char>(port & 0xFF);
  return header;
}

}  // namespace postern::client
