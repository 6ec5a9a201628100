#include "pages.hpp"

#include <algorithm>

#include "config/version.hpp"
#include "services/client/cli.hpp"
#include "services/client/daemon_options.hpp"
#include "services/connector/settings.hpp"
#include "services/server/admin_verbs.hpp"
#include "services/server/server_options.hpp"

namespace postern::manual {
namespace {

using config::Manual;
using config::ManualReference;

const std::vector<ManualReference>& all_pages() {
  static const std::vector<ManualReference> kAll{
      {"postern", 1}, {"postern-connector", 8}, {"postern-server", 8}, {"postern-server-admin", 8}, {"posternd", 8}};
  return kAll;
}

Manual server(const std::string& date) {
  return {.date = date,
          .description =
              {"The server is the public meeting point of a Postern network. It is the controller, which knows who may "
               "reach what, and the relay, which forwards encrypted packets that it cannot read. Both use one port "
               "number, for TCP and for UDP.",
               "It proves itself to agents by a certificate authority of its own, whose digest is part of every "
               "enrolment URL and connector token, or, with --certificate and --key, by a certificate of a public "
               "authority. SIGHUP makes it read these two files again; files that cannot be used change nothing and "
               "are named in the log."},
          .files = {{"/etc/postern/server.toml", "Configuration of postern-server serve."},
                    {"/var/lib/postern-server", "The state: postern.db, and master.key, which opens its secrets."},
                    {"/run/postern-server/admin.sock", "Where postern-server admin finds the server."}},
          .examples = {{"Found a Network and run its server:",
                        "postern-server init --network home --address 203.0.113.10 --admin-email you@example.org\n"
                        "postern-server serve"},
                       {"Take over a renewed public certificate:", "systemctl reload postern-server"}}};
}

Manual server_admin(const std::string& date) {
  return {.date = date,
          .description = {"It talks to the running server over its admin socket, which only the server's user and root "
                          "may use. What changes something is written to the audit log."},
          .files = {{"/run/postern-server/admin.sock", "The server's admin socket."}},
          .examples = {{"A private network with one connector, and a resource that one person may reach:",
                        "postern-server admin remote-network add home\n"
                        "postern-server admin connector add attic --remote-network home\n"
                        "postern-server admin connector tokens attic\n"
                        "postern-server admin resource add proxmox --remote-network home --address 192.168.1.100 \\\n"
                        "    --alias proxmox.home --tcp 8006\n"
                        "postern-server admin access grant proxmox --user you@example.org"}}};
}

Manual connector(const std::string& date) {
  return {
      .date = date,
      .description =
          {"The connector sits in a private network, dials out to its server, and opens the connections that the "
           "server and its own table of resources allow. It listens on nothing but local health and metrics ports, "
           "and needs no privilege.",
           "Its two tokens come from postern-server admin connector tokens. They are enough: the access token "
           "names the server and the digest of its certificate authority. An access token that has expired "
           "still works at a start, because a new one is fetched with the refresh token.",
           "It ends with 3 when its tokens were revoked or replaced; starting it again does not help then."},
      .files = {{"/etc/postern/connector.toml", "Configuration."},
                {"/etc/postern/connector.env", "Environment of the systemd service; the tokens belong here (0600)."},
                {"/run/postern-connector/connector.sock", "Where postern-connector health asks."}},
      .examples = {{"Is it connected?", "postern-connector health"},
                   {"Run it by hand, with tokens in files:",
                    "postern-connector --access-token-file access --refresh-token-file refresh"}}};
}

Manual daemon(const std::string& date) {
  return {
      .date = date,
      .description =
          {"The daemon brings up a TUN interface, routes the resources of the Network into it, answers DNS for their "
           "names, and carries their connections to the connectors, encrypted end to end. Everything else on the "
           "machine stays as it is. It needs CAP_NET_ADMIN and /dev/net/tun.",
           "Each change to the host's DNS is written to a journal before it is made. When the daemon ends, also by "
           "SIGKILL, a watchdog process undoes the changes; posternd --restore does the same by hand.",
           "With --tun none it needs no right at all, changes nothing on the host, and is reached by --proxy only; "
           "postern proxy runs it so.",
           "Everybody on the machine may ask it, with postern(1); root and the members of the group postern may also "
           "change what it does."},
      .files = {{"/etc/postern/client.toml", "Configuration."},
                {"/var/lib/postern", "Device key, sign-in, and the journal of changes to the host."},
                {"/run/postern/posternd.sock", "Where postern(1) finds the daemon."}},
      .examples = {{"Put the host's DNS back after a crash of the whole service:", "posternd --restore"}}};
}

Manual cli(const std::string& date) {
  return {
      .section = 1,
      .date = date,
      .description = {"Asks and steers the client daemon, posternd(8), of this machine. Everybody may ask; signing in "
                      "and out, connecting, disconnecting, and what people do (flows) are for root and the members of "
                      "the group postern."},
      .files = {{"/run/postern/posternd.sock", "The daemon's socket."},
                {"$XDG_RUNTIME_DIR/postern/posternd.sock", "That of your own postern proxy, which is asked first."},
                {"$XDG_STATE_HOME/postern", "Device key and sign-in of postern proxy."}},
      .examples = {
          {"Sign in with the enrolment URL that the server's administrator gave you:",
           "postern login 'https://203.0.113.10/#ca=DIGEST'"},
          {"Which resources may I reach?", "postern resources"},
          {"Why do I reach something, or not?", "postern explain proxmox.home:8006"},
          {"What runs, and what does it wait for?", "postern flows --watch"},
          {"A SOCKS5 and HTTP proxy, without rights on the machine:", "postern proxy"},
          {"ssh through Postern, without a network device:", "ssh -o ProxyCommand='postern nc %h %p' ssh.home.lan"}}};
}

Page page(const config::Program& program, Manual manual) {
  std::string name = program.name;
  std::ranges::replace(name, ' ', '-');
  std::ranges::copy_if(all_pages(), std::back_inserter(manual.see_also),
                       [&](const ManualReference& other) { return other.name != name; });
  return {name + '.' + std::to_string(manual.section), config::manual_page(program, manual)};
}

}  // namespace

std::vector<Page> pages(const std::string& date) {
  const std::string version = config::version();
  config::Program admin = server::admin_program();
  admin.version = version;
  return {page(server::server_program(), server(date)), page(admin, server_admin(date)),
          page(connector::program(version), connector(date)), page(client::daemon_program(version), daemon(date)),
          page(client::cli_program(version), cli(date))};
}

}  // namespace postern::manual
