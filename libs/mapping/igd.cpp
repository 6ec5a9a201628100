#include "mapping/igd.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "mapping/xml.hpp"

namespace postern::mapping {

namespace {

/// More services than a router describes.
constexpr std::size_t kDescribedMax = 64;
constexpr std::string_view kIp2 = "urn:schemas-upnp-org:service:WANIPConnection:2";
constexpr std::array<std::string_view, 3> kTypes = {kIp2, "urn:schemas-upnp-org:service:WANIPConnection:1",
                                                    "urn:schemas-upnp-org:service:WANPPPConnection:1"};

std::string element(std::string_view name, std::string_view value) {
  return "<" + std::string(name) + ">" + std::string(value) + "</" + std::string(name) + ">";
}

std::string soap(const IgdService& service, std::string_view action, std::string_view arguments) {
  const std::string name(action);
  const std::string body =
      "<?xml version=\"1.0\"?>\r\n<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" "
      "s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body><u:" +
      name + " xmlns:u=\"" + service.type + "\">" + std::string(arguments) + "</u:" + name +
      "></s:Body></s:Envelope>\r\n";
  return post_request(service.control, service.type + "#" + name, body);
}

/// In the order of the specification: some routers read arguments by place.
std::string map_arguments(const IgdMap& map) {
  return element("NewRemoteHost", "") + element("NewExternalPort", std::to_string(map.external_port)) +
         element("NewProtocol", "UDP") + element("NewInternalPort", std::to_string(map.internal_port)) +
         element("NewInternalClient", map.internal.to_string()) + element("NewEnabled", "1") +
         element("NewPortMappingDescription", "Postern") + element("NewLeaseDuration", std::to_string(map.lease_s));
}

template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

SocketAddress ssdp_group() {
  return {IpAddress::v4(239, 255, 255, 250), 1900};
}

std::vector<std::string> ssdp_searches() {
  std::vector<std::string> searches;
  for (const char* version : {"1", "2"}) {
    searches.push_back(std::string("M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\n"
                                   "MX: 1\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:") +
                       version + "\r\n\r\n");
  }
  return searches;
}

std::optional<std::string> parse_ssdp_answer(ByteView datagram) {
  constexpr std::string_view kName = "location:";
  std::string_view text = as_text(datagram);
  if (!text.starts_with("HTTP/1.1 200")) return std::nullopt;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const bool is_location =
        line.size() > kName.size() &&
        std::ranges::equal(
            line.substr(0, kName.size()), kName, {}, [](char c) { return c | 0x20; }, [](char c) { return c | 0x20; });
    if (!is_location) continue;
    line.remove_prefix(kName.size());
    const std::size_t first = line.find_first_not_of(" \t\r");
    if (first == std::string_view::npos) return std::nullopt;
    line = line.substr(first, line.find_last_not_of(" \t\r") + 1 - first);
    return line.size() <= kUrlMax ? std::optional(std::string(line)) : std::nullopt;
  }
  return std::nullopt;
}

std::vector<IgdService> find_services(std::string_view description, const HttpTarget& from, std::uint64_t& foreign) {
  HttpTarget base = from;
  if (const auto text = element_text(description, "URLBase"); text && !text->empty()) {
    const auto given = parse_target(*text);
    if (given && given->host.ip == from.host.ip) base = *given;
  }
  std::vector<IgdService> services;
  const auto described = elements(description, "service", kDescribedMax);
  for (const std::string_view type : kTypes) {
    for (const std::string_view service : described) {
      const auto reference = element_text(service, "controlURL");
      if (element_text(service, "serviceType") != type || !reference || services.size() >= kServicesMax) continue;
      auto control = resolve(base, *reference);
      if (!control || control->host.ip != from.host.ip) {
        ++foreign;
        continue;
      }
      services.push_back({std::string(type), std::move(*control)});
    }
  }
  return services;
}

std::string external_address_request(const IgdService& service) {
  return soap(service, "GetExternalIPAddress", "");
}

std::string add_mapping_request(const IgdService& service, const IgdMap& map) {
  return soap(service, "AddPortMapping", map_arguments(map));
}

std::string add_any_mapping_request(const IgdService& service, const IgdMap& map) {
  return soap(service, "AddAnyPortMapping", map_arguments(map));
}

std::string delete_mapping_request(const IgdService& service, std::uint16_t external_port) {
  return soap(service, "DeletePortMapping",
              element("NewRemoteHost", "") + element("NewExternalPort", std::to_string(external_port)) +
                  element("NewProtocol", "UDP"));
}

bool has_add_any(const IgdService& service) {
  return service.type == kIp2;
}

std::expected<std::string_view, IgdError> read_answer(const HttpReply& reply) {
  if (const auto code = element_text(reply.body(), "errorCode")) {
    const auto number = parse_number<std::uint16_t>(*code);
    return std::unexpected(static_cast<IgdError>(number.value_or(0)));
  }
  const auto body = elements(reply.body(), "Body", 1);
  if (reply.status() != 200 || body.empty()) return std::unexpected(IgdError::Nonsense);
  return body.front();
}

std::optional<IpAddress> parse_external_address(std::string_view answer) {
  const auto text = element_text(answer, "NewExternalIPAddress");
  return text ? IpAddress::parse(*text) : std::nullopt;
}

std::optional<std::uint16_t> parse_reserved_port(std::string_view answer) {
  const auto text = element_text(answer, "NewReservedPort");
  const auto port = text ? parse_number<std::uint16_t>(*text) : std::nullopt;
  return port && *port != 0 ? port : std::nullopt;
}

}  // namespace postern::mapping
