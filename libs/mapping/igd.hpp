// Words of the UPnP Internet Gateway Device: how it is found (UDA 1.1 §1.3), what its description says about its
// services, and the actions of WANIPConnection:1 and :2 and WANPPPConnection:1 that a port mapping needs.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mapping/http.hpp"

namespace postern::mapping {

/// Where SSDP searches are sent.
[[nodiscard]] SocketAddress ssdp_group();
/// The searches of one try.
[[nodiscard]] std::vector<std::string> ssdp_searches();
/// LOCATION of an answer to a search, or nothing when it is no answer.
[[nodiscard]] std::optional<std::string> parse_ssdp_answer(ByteView datagram);

struct IgdService {
  std::string type;
  HttpTarget control;
};
inline constexpr std::size_t kServicesMax = 4;
/// The services of a description from `from` that map ports, the best first. One whose control URL leads to another
/// address than the description came from is left out and counted in `foreign`.
[[nodiscard]] std::vector<IgdService> find_services(std::string_view description, const HttpTarget& from,
                                                    std::uint64_t& foreign);

struct IgdMap {
  std::uint16_t external_port = 0;
  std::uint16_t internal_port = 0;
  IpAddress internal;
  std::uint32_t lease_s = 0;  ///< 0: until it is deleted or the router forgets
};

/// Whole HTTP requests.
[[nodiscard]] std::string external_address_request(const IgdService& service);
[[nodiscard]] std::string add_mapping_request(const IgdService& service, const IgdMap& map);
/// The router chooses another external port where the wanted one is taken; WANIPConnection:2 only.
[[nodiscard]] std::string add_any_mapping_request(const IgdService& service, const IgdMap& map);
[[nodiscard]] std::string delete_mapping_request(const IgdService& service, std::uint16_t external_port);
[[nodiscard]] bool has_add_any(const IgdService& service);

/// Codes of UPnP errors that mean something to us (WANIPConnection:2 §2.5).
enum class IgdError : std::uint16_t {
  Nonsense = 0,  ///< no answer of SOAP at all
  Conflict = 718,
  SamePortsRequired = 724,
  OnlyPermanentLeases = 725,
};
/// The body of a SOAP answer, or the code of the error that it tells.
[[nodiscard]] std::expected<std::string_view, IgdError> read_answer(const HttpReply& reply);
[[nodiscard]] std::optional<IpAddress> parse_external_address(std::string_view answer);
[[nodiscard]] std::optional<std::uint16_t> parse_reserved_port(std::string_view answer);

}  // namespace postern::mapping
