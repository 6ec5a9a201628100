#include "services/client/observe.hpp"

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>

#include "runtime/http/https_request.hpp"
#include "runtime/loop/event_loop.hpp"
#include "runtime/os/random.hpp"
#include "runtime/udp/socket_address.hpp"
#include "services/client/daemon_line.hpp"
#include "services/client/json_fields.hpp"
#include "services/client/resolv_conf.hpp"
#include "services/client/server_url.hpp"
#include "services/client/sign_in.hpp"
#include "services/client/text_table.hpp"
#include "services/client/tun_link.hpp"
#include "services/client/watchdog.hpp"
#include "wire/stun.hpp"

namespace postern::client {

namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr Duration kTcpMax = std::chrono::seconds(8);
constexpr std::chrono::milliseconds kUdpOneTry{1000};
constexpr int kUdpTries = 3;
constexpr unsigned kCapNetAdmin = 12;

std::string read_all(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// --- processes -------------------------------------------------------------------------------------------------------

/// In our network namespace, as far as may be seen.
bool shares_network(const fs::path& process) {
  std::error_code error;
  const auto theirs = fs::read_symlink(process / "ns/net", error);
  if (error) return true;
  return theirs == fs::read_symlink("/proc/self/ns/net", error);
}

std::vector<int> find_daemons() {
  std::vector<int> pids;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename();
    int pid = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), pid).ec != std::errc()) continue;
    if (read_all(entry.path() / "comm") != "posternd\n") continue;
    // Words end with a zero byte; a zombie has none.
    const std::string command = read_all(entry.path() / "cmdline");
    if (command.empty() || command.find(std::string(1, '\0') + kWatchdogVerb) != std::string::npos) continue;
    if (shares_network(entry.path())) pids.push_back(pid);
  }
  std::ranges::sort(pids);
  return pids;
}

std::optional<bool> has_net_admin(int pid) {
  std::ifstream status(fs::path("/proc") / std::to_string(pid) / "status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("CapEff:")) {
      return (std::strtoull(line.c_str() + std::strlen("CapEff:"), nullptr, 16) >> kCapNetAdmin & 1U) != 0;
    }
  }
  return std::nullopt;
}

// --- the server ------------------------------------------------------------------------------------------------------

/// RFC 9110 §5.6.7.
std::optional<WallTime> parse_http_date(const std::string& text) {
  std::tm parts{};
  if (::strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts) == nullptr) return std::nullopt;
  return from_unix_ms(static_cast<std::int64_t>(::timegm(&parts)) * 1000);
}

/// In the words of X509_verify_cert_error_string(3).
bool names_validity(std::string_view failure) {
  return failure.contains("not yet valid") || failure.contains("has expired");
}

Observations::Tcp try_tcp(const ServerTarget& target) {
  Observations::Tcp seen;
  const Instant begun = runtime::monotonic_now();
  const auto answer = runtime::https_exchange(target.server, target.trust, {.target = "/healthz"}, kTcpMax);
  seen.took = runtime::monotonic_now() - begun;
  seen.local_time = runtime::wall_now();
  if (!answer) {
    seen.answered = answer.error().kind == runtime::ConnectError::Kind::NotTrusted;
    seen.failure = answer.error().message;
    seen.outside_validity = seen.answered && names_validity(seen.failure);
    return seen;
  }
  seen.answered = seen.trusted = true;
  seen.server_time = parse_http_date(std::string(runtime::find_header(answer->headers, "Date")));
  return seen;
}

/// One Binding request (RFC 8489); true when its answer came.
bool ask_stun(int fd, runtime::KernelRandom& random) {
  const auto transaction = random.make<wire::TransactionId>();
  std::array<std::uint8_t, 64> request{};
  wire::StunBuilder builder(request, wire::StunType::BindingRequest, transaction);
  builder.pad_to(48);
  const ByteView message = builder.finish();
  if (::send(fd, message.data(), message.size(), 0) < 0) return false;
  pollfd ready{fd, POLLIN, 0};
  if (::poll(&ready, 1, static_cast<int>(kUdpOneTry.count())) <= 0) return false;
  std::array<std::uint8_t, 1500> answer{};
  const ssize_t size = ::recv(fd, answer.data(), answer.size(), 0);
  if (size <= 0) return false;
  const auto stun = wire::StunView::parse(ByteView(answer).first(static_cast<std::size_t>(size)));
  return stun && stun->type() == wire::StunType::BindingSuccess && stun->transaction() == transaction;
}

struct UdpLook {
  Observations::Udp udp;
  std::optional<int> path_mtu;
};

UdpLook try_udp(const SocketAddress& address) {
  UdpLook look;
  look.udp.address = address.to_string();
  const auto to = runtime::to_kernel(address);
  const runtime::Descriptor fd(::socket(address.ip.is_v4() ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd || ::connect(fd.get(), to.get(), to.size) != 0) {
    look.udp.failure = std::strerror(errno);
    return look;
  }
  int mtu = 0;
  socklen_t size = sizeof mtu;
  const bool is_v4 = address.ip.is_v4();
  if (::getsockopt(fd.get(), is_v4 ? IPPROTO_IP : IPPROTO_IPV6, is_v4 ? IP_MTU : IPV6_MTU, &mtu, &size) == 0) {
    look.path_mtu = mtu;
  }
  runtime::KernelRandom random;
  for (int i = 0; i < kUdpTries && !look.udp.answered; ++i) {
    const Instant begun = runtime::monotonic_now();
    look.udp.answered = ask_stun(fd.get(), random);
    look.udp.round_trip = runtime::monotonic_now() - begun;
  }
  look.udp.failure = "nothing came back in " + std::to_string(kUdpTries) + " s";
  return look;
}

/// The first address that answers, or the first one's failure.
std::optional<UdpLook> try_udp(const ServerTarget& target) {
  std::vector<std::string> addresses = target.server.fixed_addresses;
  if (addresses.empty()) addresses = look_up(target.server.host);
  std::optional<UdpLook> first;
  for (const std::string& text : addresses) {
    const auto address = IpAddress::parse(text);
    if (!address) continue;
    UdpLook look = try_udp(SocketAddress{*address, target.server.port});
    if (look.udp.answered || !first) first = std::move(look);
    if (first->udp.answered) break;
  }
  return first;
}

void look_at_server(const ServerTarget& target, Observations& seen) {
  seen.server = runtime::host_header(target.server);
  seen.has_pin = target.trust.root_pin.has_value();
  auto udp = std::async(std::launch::async, [&] { return try_udp(target); });
  seen.tcp = try_tcp(target);
  if (auto look = udp.get()) {
    seen.udp = std::move(look->udp);
    seen.path_mtu = look->path_mtu;
    return;
  }
  seen.udp = Observations::Udp{false, seen.server, {}, "its name cannot be resolved"};
}

// --- this computer ---------------------------------------------------------------------------------------------------

std::string tun_device_failure() {
  const runtime::Descriptor fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  return fd ? "" : std::string("/dev/net/tun cannot be opened: ") + std::strerror(errno);
}

std::optional<int> interface_mtu(const std::string& name) {
  const runtime::Descriptor fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  name.copy(request.ifr_name, sizeof request.ifr_name - 1);
  if (::ioctl(fd.get(), SIOCGIFMTU, &request) != 0) return std::nullopt;
  return request.ifr_mtu;
}

std::optional<Observations::Service> look_at_units() {
  if (!fs::exists("/run/systemd/system")) return std::nullopt;
  Observations::Service service;
  for (const char* folder : {"/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/"}) {
    service.has_unit = service.has_unit || fs::exists(std::string(folder) + "posternd.service");
  }
  std::error_code error;
  service.is_enabled = fs::is_symlink("/etc/systemd/system/multi-user.target.wants/posternd.service", error);
  return service;
}

/// A name of a Resource, to be looked up as an application does.
std::optional<std::string> some_resource_name(const json& status) {
  for (const json& resource : field(status, "resources")) {
    const json& aliases = field(resource, "aliases");
    const std::string alias = aliases.is_array() && !aliases.empty() ? aliases.front().get<std::string>() : "";
    for (const std::string& text : {text_field(resource, "address"), alias}) {
      const auto parsed = model::ResourceAddress::parse(text);
      if (parsed && std::holds_alternative<model::DnsName>(parsed->value())) return text;
    }
  }
  return std::nullopt;
}

void look_at_dns(const json& status, Observations& seen) {
  for (const IpAddress& server : ResolvConf::parse(read_all("/etc/resolv.conf")).servers) {
    seen.name_servers.push_back(server.to_string());
  }
  seen.dns_manager = text_field(field(status, "dns"), "manager");
  seen.dns_problem = text_field(field(status, "dns"), "problem");
  const json& host = field(status, "host");
  seen.resolver = text_field(host, "resolver");
  const auto name = seen.resolver.empty() ? std::nullopt : some_resource_name(status);
  if (!name) return;
  const auto v4 = IpPrefix::parse(text_field(host, "range_v4"));
  const auto v6 = IpPrefix::parse(text_field(host, "range_v6"));
  Observations::Name looked_up{*name, look_up(*name), false};
  looked_up.is_virtual = std::ranges::any_of(looked_up.addresses, [&](const std::string& text) {
    const auto address = IpAddress::parse(text);
    return address && ((v4 && v4->contains(*address)) || (v6 && v6->contains(*address)));
  });
  seen.resource_name = std::move(looked_up);
}

void read_status(const json& status, Observations& seen) {
  seen.state = text_field(status, "state");
  seen.reason = text_field(status, "reason");
  seen.account = text_field(status, "account");
  seen.network = text_field(status, "network");
  seen.signed_in = !seen.network.empty();
  const json& relay = field(status, "relay");
  if (relay.is_object()) {
    seen.relay = {text_field(relay, "address"), flag_field(relay, "bound"), text_field(relay, "transport") == "tls"};
  }
  seen.proxy = text_field(field(status, "server"), "proxy");
  const json& host = field(status, "host");
  seen.works_without_tun = field(status, "has_tun") == false;
  if (!host.is_object()) return;
  seen.tun.name = text_field(host, "tun");
  seen.tun.wanted_mtu = TunLink::kMtu;
  seen.tun.mtu = interface_mtu(seen.tun.name);
  seen.routes = static_cast<std::size_t>(number_field(host, "routes"));
  seen.missing_routes.emplace();
  for (const json& route : field(host, "missing_routes")) {
    if (route.is_string()) seen.missing_routes->push_back(route.get<std::string>());
  }
}

std::optional<ServerTarget> server_of(const json& status) {
  const json& server = field(status, "server");
  if (!server.is_object()) return std::nullopt;
  ServerTarget target{{text_field(server, "host"), static_cast<std::uint16_t>(number_field(server, "port")), {}}, {}};
  for (const json& address : field(server, "addresses")) {
    if (address.is_string()) target.server.fixed_addresses.push_back(address.get<std::string>());
  }
  const auto pin = from_base64url(text_field(server, "root_pin"));
  if (pin && pin->size() == sizeof(Digest)) std::ranges::copy(*pin, target.trust.root_pin.emplace().begin());
  return target;
}

}  // namespace

std::expected<Observations, Problem> observe(const ObserveConfig& where) {
  Observations seen;
  std::optional<ServerTarget> target;
  if (!where.url.empty()) {
    auto parsed = parse_server_target(where.url, "");
    if (!parsed) return std::unexpected(Problem{config::ExitCode::Usage, parsed.error()});
    target = std::move(*parsed);
  }
  seen.daemons = find_daemons();
  seen.tun.device_failure = tun_device_failure();
  seen.service = look_at_units();
  Request request;
  request.type = RequestType::Status;
  const auto answer = DaemonLine::ask(where.socket, request);
  if (answer) {
    const json& status = (*answer)["status"];
    read_status(status, seen);
    look_at_dns(status, seen);
    if (!target) target = server_of(status);
    if (seen.daemons.size() == 1) seen.daemon_may_administer = has_net_admin(seen.daemons.front());
  } else {
    seen.daemon_problem = answer.error();
    const auto sign_in = StateStore(where.state_directory).load_sign_in();
    if (sign_in && *sign_in) {
      seen.signed_in = true;
      seen.account = (*sign_in)->account;
      seen.network = (*sign_in)->network;
      if (!target) target = ServerTarget{(*sign_in)->server, (*sign_in)->trust};
    }
  }
  if (target) look_at_server(*target, seen);
  return seen;
}

}  // namespace postern::client
