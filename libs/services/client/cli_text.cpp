#include "services/client/cli_text.hpp"

#include <nlohmann/json.hpp>
#include <vector>

#include "services/client/json_fields.hpp"
#include "services/client/text_table.hpp"

namespace postern::client {

namespace {

using nlohmann::json;

std::string headline(const json& status) {
  const std::string state = text_field(status, "state");
  const std::string name = text_field(status, "network");
  const std::string reason = text_field(status, "reason");
  const std::string because = reason.empty() ? "" : ": " + reason;
  if (state == "online") return "Connected to " + name + (reason.empty() ? "" : " (" + reason + ")");
  if (state == "connecting") return "Connecting" + (name.empty() ? "" : " to " + name) + because;
  if (state == "paused") return "Paused" + because;
  if (state == "authenticating") return "Authenticating" + because;
  return "Offline" + because;
}

/// That there is none matters only where something is relayed.
std::string port_mapping_line(const json& mapping, bool is_missed) {
  if (!mapping.is_object()) return "";
  const std::string outside = text_field(mapping, "outside");
  if (!outside.empty()) return "  " + outside + " of the router leads here (" + text_field(mapping, "method") + ")\n";
  const std::string why = text_field(mapping, "why");
  return why.empty() || !is_missed ? "" : "  no port of the router leads here: " + why + "\n";
}

}  // namespace

std::string path_text(const json& of) {
  const std::string word = text_field(of, "path");
  const std::string transport = text_field(of, "transport");
  return word == "relay" && !transport.empty() ? word + "/" + transport : word;
}

namespace {

std::string session_line(const json& session, Row& row) {
  const std::string state = text_field(session, "state");
  const std::int64_t flows = number_field(session, "flows");
  row = {text_field(session, "connector"), state,
         text_field(session, "path").empty() ? text_field(session, "failure")
                                             : path_text(session) + " " + text_field(session, "remote"),
         milliseconds(field(session, "rtt_ms")), std::to_string(flows) + (flows == 1 ? " flow" : " flows")};
  return state;
}

/// Why sessions are relayed, a line for each reason.
std::string relayed_text(const json& sessions) {
  std::string text;
  for (const json& session : sessions) {
    const std::string reason = text_field(session, "path_reason");
    if (!reason.empty()) text += "  " + text_field(session, "connector") + " is relayed: " + reason + "\n";
  }
  return text;
}

std::string dns_line(const json& dns) {
  const std::string state = text_field(dns, "state");
  if (state.empty() || state == "off") return "";
  if (state != "installed") return "DNS: " + state + ": " + text_field(dns, "problem") + "\n";
  return "DNS: by " + text_field(dns, "manager") + (flag_field(dns, "split") ? ", names of resources only" : "") + "\n";
}

}  // namespace

std::string resources_text(const json& status) {
  std::vector<Row> rows = {
      {"RESOURCE", "ADDRESS", "ALIAS", "TCP PORTS", "UDP PORTS", "PING", "REMOTE NETWORK", "STATE"}};
  for (const json& resource : field(status, "resources")) {
    rows.push_back({text_field(resource, "name"), text_field(resource, "address"), joined(field(resource, "aliases")),
                    text_field(resource, "tcp"), text_field(resource, "udp"),
                    flag_field(resource, "icmp") ? "yes" : "no", text_field(resource, "remote_network"),
                    flag_field(resource, "reachable") ? "reachable" : "no connector"});
  }
  return rows.size() == 1 ? "  none\n" : table(std::move(rows));
}

std::string status_text(const json& status) {
  std::string text = headline(status) + "\n";
  const std::string account = text_field(status, "account");
  if (account.empty()) return text;
  const std::string device = text_field(status, "device");
  text += "Account: " + account + (device.empty() ? "" : " on " + device) + "\n";
  const json& relay = field(status, "relay");
  if (relay.is_object()) {
    const std::string rtt = milliseconds(field(relay, "rtt_ms"));
    const bool over_tls = text_field(relay, "transport") == "tls";
    text += "Relay: " + text_field(relay, "address") + (flag_field(relay, "bound") ? ", bound" : ", not bound") +
            (over_tls ? " over TLS (" + text_field(relay, "why") + ")" : "") + (rtt.empty() ? "" : ", " + rtt) + "\n";
  }
  const json& proxy = field(status, "proxy");
  if (proxy.is_object()) {
    text += "Proxy: SOCKS5 and HTTP on " + text_field(proxy, "address") + ", " +
            std::to_string(number_field(proxy, "streams")) + " open\n";
  }
  text += dns_line(field(status, "dns"));
  if (!field(status, "resources").is_array() || text_field(status, "network_name").empty()) return text;
  for (const json& note : field(status, "notes")) {
    if (note.is_string()) text += "Note: " + printable(note.get<std::string>()) + "\n";
  }
  text += "Resources:\n" + resources_text(status);
  std::vector<Row> rows;
  for (const json& session : field(status, "sessions")) session_line(session, rows.emplace_back());
  text +=
      "Sessions:\n" + (rows.empty() ? std::string("  none yet: the first access opens one\n") : table(std::move(rows)));
  const std::string relayed = relayed_text(field(status, "sessions"));
  text += relayed + port_mapping_line(field(status, "port_mapping"), !relayed.empty());
  const json& drops = field(status, "drops");
  if (!drops.is_object() || drops.empty()) return text;
  text += "Dropped or refused:\n";
  for (const auto& [name, count] : drops.items()) text += "  " + name + " " + count.dump() + "\n";
  return text;
}

}  // namespace postern::client
