#include "services/client/dns/network_manager_dns.hpp"

#include <unistd.h>

#include <filesystem>

#include "runtime/os/files.hpp"
#include "services/client/dns/dns_choice.hpp"
#include "services/client/resolv_conf.hpp"

namespace postern::client {

namespace {

using runtime::BusReply;
using runtime::BusTarget;
using runtime::SystemBus;

constexpr BusTarget kManager = {kNetworkManagerService, "/org/freedesktop/NetworkManager",
                                "org.freedesktop.NetworkManager"};
constexpr BusTarget kDnsManager = {kNetworkManagerService, "/org/freedesktop/NetworkManager/DnsManager",
                                   "org.freedesktop.NetworkManager.DnsManager"};
constexpr BusTarget kDnsmasq = {"org.freedesktop.NetworkManager.dnsmasq", "/uk/org/thekelleys/dnsmasq",
                                "org.freedesktop.NetworkManager.dnsmasq"};
constexpr const char* kIp4Config = "org.freedesktop.NetworkManager.IP4Config";
constexpr const char* kIp6Config = "org.freedesktop.NetworkManager.IP6Config";
/// Read after all other files: "zz" sorts behind what people use.
constexpr const char* kFolder = "/run/NetworkManager/conf.d";
constexpr const char* kDropIn = "/run/NetworkManager/conf.d/zz-postern.conf";
constexpr std::size_t kFileMax = 64 * 1024;

/// NetworkManager.Reload(): its configuration, and with it what depends on it.
constexpr std::uint32_t kReloadConfiguration = 1;

std::expected<void, std::string> reload(SystemBus& bus) {
  auto call = bus.prepare(kManager, "Reload");
  const auto done = bus.call(std::move(call.u32(kReloadConfiguration)));
  if (done) return {};
  return std::unexpected("NetworkManager did not read its configuration again: " + done.error());
}

std::string text_of(const std::string& path) {
  return runtime::read_text_file(path, kFileMax).value_or(std::string{});
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ",") + word;
  return text;
}

std::string drop_in(const IpAddress& resolver, const std::string& search) {
  std::string text = "# Made by posternd, which removes it when it ends.\n[global-dns]\n";
  if (!search.empty()) text += "searches=" + search + "\n";
  return text + "[global-dns-domain-*]\nservers=" + resolver.to_string() + "\n";
}

/// aa{sv}, each with an "address" as text
void read_v4_servers(BusReply& reply, std::vector<IpAddress>& servers) {
  if (!reply.enter_array("a{sv}")) return;
  while (reply.enter_array("{sv}")) {
    while (reply.enter_entry("sv")) {
      if (reply.text() == "address" && reply.enter_variant("s")) {
        const auto address = IpAddress::parse(reply.text().value_or(std::string{}));
        if (address) servers.push_back(*address);
        reply.leave();
      } else {
        reply.skip("v");
      }
      reply.leave();
    }
    reply.leave();
  }
}

/// aay
void read_v6_servers(BusReply& reply, std::vector<IpAddress>& servers) {
  if (!reply.enter_array("ay")) return;
  while (const auto bytes = reply.bytes()) {
    if (const auto address = IpAddress::from_bytes(*bytes)) servers.push_back(*address);
  }
}

/// Of one connection, in both families. "/" stands for no configuration.
void read_connection(SystemBus& bus, const std::string& connection, std::vector<IpAddress>& servers) {
  const BusTarget active = {kNetworkManagerService, connection.c_str(),
                            "org.freedesktop.NetworkManager.Connection.Active"};
  const auto path_of = [&](const char* property) {
    auto reply = bus.get(active, property, "o");
    return reply ? reply->object_path().value_or("/") : std::string("/");
  };
  const std::string v4 = path_of("Ip4Config");
  const std::string v6 = path_of("Ip6Config");
  if (v4 != "/") {
    auto reply = bus.get({kNetworkManagerService, v4.c_str(), kIp4Config}, "NameserverData", "aa{sv}");
    if (reply) read_v4_servers(*reply, servers);
  }
  if (v6 != "/") {
    auto reply = bus.get({kNetworkManagerService, v6.c_str(), kIp6Config}, "Nameservers", "aay");
    if (reply) read_v6_servers(*reply, servers);
  }
}

}  // namespace

std::string NetworkManagerDns::current() const {
  return text_of(path_);
}

bool NetworkManagerDns::is_in_force(const std::string& resolver) {
  const std::string content = current();
  if (names_server(content, resolver)) return true;
  // With dns=dnsmasq the file names that one alone, and it asks whom `global-dns` names.
  auto mode = bus_.get(kDnsManager, "Mode", "s");
  return names_server(content, "127.0.0.1") && mode && mode->text() == "dnsmasq";
}

void NetworkManagerDns::forget_answers() {
  // Only with dns=dnsmasq there is somebody who keeps them; nobody else has this name on the bus.
  if (bus_.has_owner(kDnsmasq.service)) (void)bus_.call(bus_.prepare(kDnsmasq, "ClearCache"));
}

std::expected<DnsChange, std::string> NetworkManagerDns::apply(const DnsPlan& plan) {
  const std::string resolver = plan.resolver.to_string();
  const std::string before = current();
  if (!names_server(before, resolver)) search_ = joined(ResolvConf::parse(before).search);
  const std::string wanted = drop_in(plan.resolver, search_);
  if (text_of(kDropIn) == wanted && is_in_force(resolver)) {
    if (domains_ != plan.domains) forget_answers();
    domains_ = plan.domains;
    return DnsChange::None;
  }
  domains_ = plan.domains;
  JournalEntry entry{owner_, {}, DnsMethod::NetworkManager, kDropIn};
  entry.resolver = resolver;
  if (const auto noted = journal_.note(std::move(entry), path_); !noted) return std::unexpected(noted.error());
  if (const auto made = runtime::make_directories(kFolder, 0755); !made) return std::unexpected(made.error().text);
  const auto written = runtime::write_file_atomic(kDropIn, as_bytes(wanted), 0644);
  if (!written) return std::unexpected(written.error().text);
  if (const auto done = reload(bus_); !done) return std::unexpected(done.error());
  if (is_in_force(resolver)) return DnsChange::Made;
  return std::unexpected("NetworkManager has DNS settings of its own that win over ours (global-dns)");
}

std::expected<void, std::string> NetworkManagerDns::remove() {
  const auto done = journal_.play_back(owner_);
  if (!done) return std::unexpected(done.error());
  return {};
}

/// From its connections: its own view of DNS (DnsManager) stands still while `global-dns` is in force.
std::vector<IpAddress> NetworkManagerDns::upstream(const DnsPlan& plan) {
  std::vector<IpAddress> servers;
  std::vector<std::string> connections;
  if (auto reply = bus_.get(kManager, "ActiveConnections", "ao"); reply && reply->enter_array("o")) {
    while (auto path = reply->object_path()) connections.push_back(std::move(*path));
  }
  for (const std::string& connection : connections) read_connection(bus_, connection, servers);
  std::erase(servers, plan.resolver);
  return servers;
}

bool undo_network_manager(const JournalEntry& entry) {
  const bool was_there = ::unlink(entry.record.c_str()) == 0;
  auto bus = SystemBus::open();
  // Where it does not run (any more) the caller puts the file back.
  if (bus && bus->has_owner(kNetworkManagerService)) (void)reload(*bus);
  return was_there;
}

}  // namespace postern::client
