#include "services/client/daemon_options.hpp"

#include <cctype>

#include "runtime/http/proxy.hpp"

namespace postern::client {
namespace {

config::Option option(std::string name, std::string sentence, std::string value_name, std::string default_value) {
  config::Option result;
  result.name = std::move(name);
  result.sentence = std::move(sentence);
  result.value_name = std::move(value_name);
  result.default_value = std::move(default_value);
  std::string variable = "POSTERN_" + result.name;
  for (char& c : variable) c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  result.environment = {variable};
  return result;
}

}  // namespace

config::Program daemon_program(std::string version) {
  config::Command run;
  run.sentence = "Runs the client daemon until it is told to stop.";
  run.options = {
      option("state", "Folder for the device key, the sign-in and the journal.", "DIR", "/var/lib/postern"),
      option("socket", "Where `postern` finds the daemon.", "PATH", "/run/postern/posternd.sock"),
      option("tun", "Name of the network interface; \"none\" makes none, and then --proxy is the way in.", "NAME",
             "postern0"),
      option("resolv-conf", "The host's resolver configuration; \"none\" leaves DNS alone.", "PATH",
             "/etc/resolv.conf"),
      option("proxy", "Also speaks SOCKS5 and HTTP here: ADDRESS:PORT, or a port of 127.0.0.1.", "ADDRESS", ""),
      option("proxy-password-file",
             "File with one line USER:PASSWORD that --proxy asks for; needed where not only this machine "
             "can reach it.",
             "PATH", ""),
      option("log-level", "trace, debug, info, warn, error or off.", "LEVEL", "info"),
      option("config", "Configuration file.", "PATH", "/etc/postern/client.toml")};
  config::Option proxy = option("https-proxy", std::string(runtime::kProxySentence), "URL", "");
  proxy.environment = {"POSTERN_HTTPS_PROXY", "https_proxy", "HTTPS_PROXY"};
  proxy.check = runtime::check_proxy;
  proxy.secret = true;
  run.options.push_back(std::move(proxy));
  config::Option exceptions = option("no-proxy", std::string(runtime::kNoProxySentence), "LIST", "");
  exceptions.environment = {"POSTERN_NO_PROXY", "no_proxy", "NO_PROXY"};
  run.options.push_back(std::move(exceptions));
  config::Option mapping =
      option("port-mapping",
             "Asks the router of this network for a UDP port (NAT-PMP, UPnP), so that connectors can "
             "be reached without the relay.",
             "", "true");
  mapping.kind = config::ValueKind::Switch;
  run.options.push_back(std::move(mapping));
  config::Option restore_switch;
  restore_switch.name = "restore";
  restore_switch.sentence = "Only undo what a daemon that was killed has left, then end.";
  restore_switch.kind = config::ValueKind::Switch;
  run.options.push_back(std::move(restore_switch));
  return {"posternd", "The Postern client daemon.", std::move(version), {std::move(run)}};
}

}  // namespace postern::client
