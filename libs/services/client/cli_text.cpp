#include "services/client/cli_text.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "services/client/json_fields.hpp"

namespace postern::client {

namespace {

using nlohmann::json;
using Row = std::vector<std::string>;

/// Columns as wide as their widest cell; control characters, which a hostile controller might send, become '?'.
std::string table(std::vector<Row> rows) {
  std::vector<std::size_t> widths;
  for (Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) {
      std::ranges::replace_if(
          row[i], [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string text;
  for (const Row& row : rows) {
    text += " ";
    for (std::size_t i = 0; i < row.size(); ++i) {
      text += " " + row[i];
      if (i + 1 < row.size()) text += std::string(widths[i] - row[i].size() + 1, ' ');
    }
    text += "\n";
  }
  return text;
}

std::string milliseconds(const json& value) {
  if (!value.is_number()) return "";
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f ms", value.get<double>());
  return text.data();
}

const json& field(const json& object, const char* key) {
  static const json nothing;
  if (!object.is_object()) return nothing;
  const auto found = object.find(key);
  return found == object.end() ? nothing : *found;
}

std::string joined(const json& list) {
  std::string text;
  for (const json& item : list.is_array() ? list : json::array()) {
    if (item.is_string()) text += (text.empty() ? "" : ", ") + item.get<std::string>();
  }
  return text;
}

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

std::string session_line(const json& session, Row& row) {
  const std::string state = text_field(session, "state");
  const std::int64_t flows = number_field(session, "flows");
  row = {text_field(session, "connector"), state,
         text_field(session, "path").empty() ? text_field(session, "failure")
                                             : text_field(session, "path") + " " + text_field(session, "remote"),
         milliseconds(field(session, "rtt_ms")), std::to_string(flows) + (flows == 1 ? " flow" : " flows")};
  return state;
}

}  // namespace

std::string resources_text(const json& status) {
  std::vector<Row> rows = {{"RESOURCE", "ADDRESS", "ALIAS", "TCP PORTS", "REMOTE NETWORK", "STATE"}};
  for (const json& resource : field(status, "resources")) {
    rows.push_back({text_field(resource, "name"), text_field(resource, "address"), joined(field(resource, "aliases")),
                    text_field(resource, "tcp"), text_field(resource, "remote_network"),
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
    text += "Relay: " + text_field(relay, "address") + (flag_field(relay, "bound") ? ", bound" : ", not bound") +
            (rtt.empty() ? "" : ", " + rtt) + "\n";
  }
  if (!field(status, "resources").is_array() || text_field(status, "network_name").empty()) return text;
  text += "Resources:\n" + resources_text(status);
  std::vector<Row> rows;
  for (const json& session : field(status, "sessions")) session_line(session, rows.emplace_back());
  text +=
      "Sessions:\n" + (rows.empty() ? std::string("  none yet: the first access opens one\n") : table(std::move(rows)));
  const json& drops = field(status, "drops");
  if (!drops.is_object() || drops.empty()) return text;
  text += "Dropped or refused:\n";
  for (const auto& [name, count] : drops.items()) text += "  " + name + " " + count.dump() + "\n";
  return text;
}

}  // namespace postern::client
