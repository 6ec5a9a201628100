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

/// One entry a{sv} of the configuration: name servers, and the interface they came by.
struct NameServers {
  std::vector<IpAddress> servers;
  bool has_interface = false;
};

NameServers read_entry(BusReply& reply) {
  NameServers found;
  while (reply.enter_entry("sv")) {
    const auto key = reply.text();
    if (key == "nameservers" && reply.enter_variant("as")) {
      if (reply.enter_array("s")) {
        while (const auto text = reply.text()) {
          if (const auto address = IpAddress::parse(*text)) found.servers.push_back(*address);
        }
        reply.leave();
      }
      reply.leave();
    } else {
      found.has_interface |= key == "interface";
      reply.skip("v");
    }
    reply.leave();
  }
  return found;
}

}  // namespace

std::string NetworkManagerDns::current() const {
  return text_of(path_);
}

std::expected<DnsChange, std::string> NetworkManagerDns::apply(const DnsPlan& plan) {
  const std::string resolver = plan.resolver.to_string();
  const std::string before = current();
  if (!names_server(before, resolver)) search_ = joined(ResolvConf::parse(before).search);
  const std::string wanted = drop_in(plan.resolver, search_);
  if (text_of(kDropIn) == wanted && names_server(before, resolver)) return DnsChange::None;
  JournalEntry entry{owner_, {}, DnsMethod::NetworkManager, kDropIn};
  entry.resolver = resolver;
  if (const auto noted = journal_.note(std::move(entry), path_); !noted) return std::unexpected(noted.error());
  if (const auto made = runtime::make_directories(kFolder, 0755); !made) return std::unexpected(made.error().text);
  const auto written = runtime::write_file_atomic(kDropIn, as_bytes(wanted), 0644);
  if (!written) return std::unexpected(written.error().text);
  if (const auto done = reload(bus_); !done) return std::unexpected(done.error());
  if (names_server(current(), resolver)) return DnsChange::Made;
  return std::unexpected("NetworkManager has DNS settings of its own that win over ours (global-dns)");
}

std::expected<void, std::string> NetworkManagerDns::remove() {
  const auto done = journal_.play_back(owner_);
  if (!done) return std::unexpected(done.error());
  return {};
}

std::vector<IpAddress> NetworkManagerDns::upstream(const DnsPlan& plan) {
  std::vector<IpAddress> servers;
  auto reply = bus_.get(kDnsManager, "Configuration", "aa{sv}");
  if (!reply || !reply->enter_array("a{sv}")) return servers;
  while (reply->enter_array("{sv}")) {
    const NameServers entry = read_entry(*reply);
    reply->leave();
    // What has no interface is the global configuration, that is ours.
    if (entry.has_interface) servers.insert(servers.end(), entry.servers.begin(), entry.servers.end());
  }
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
