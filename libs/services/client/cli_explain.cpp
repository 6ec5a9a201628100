// The daemon explains names and addresses as its client core decides about them. A name that no Resource has is looked
// up here, as an application would: its addresses may be covered by a Resource.
#include "services/client/cli_explain.hpp"

#include <array>
#include <ctime>
#include <nlohmann/json.hpp>
#include <ostream>

#include "client_core/destination.hpp"
#include "services/client/cli_text.hpp"
#include "services/client/daemon_line.hpp"
#include "services/client/json_fields.hpp"
#include "services/client/sign_in.hpp"
#include "services/client/text_table.hpp"

namespace postern::client {

namespace {

using config::ExitCode;
using nlohmann::json;

std::string local_time(const json& seconds) {
  if (!seconds.is_number()) return "";
  const std::time_t time = seconds.get<std::int64_t>();
  std::tm parts{};
  std::array<char, 64> text{};
  if (::localtime_r(&time, &parts) == nullptr) return "";
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &parts);
  return text.data();
}

std::expected<json, Problem> ask(const config::Settings& settings, const Destination& destination) {
  Request request;
  request.type = RequestType::Explain;
  request.destination = destination.text();
  auto answer = DaemonLine::ask(settings.text("socket"), request);
  if (!answer) return std::unexpected(answer.error());
  return std::move((*answer)["explanation"]);
}

/// Where the host's resolver leads for a name that is no Resource's: each address that a Resource covers.
std::expected<json, Problem> ask_about_addresses(const config::Settings& settings, const Destination& destination) {
  json all = json::array();
  for (const std::string& text : look_up(destination.host_text())) {
    const auto address = IpAddress::parse(text);
    if (!address) continue;
    auto explanation = ask(settings, {*address, destination.port});
    if (!explanation) return std::unexpected(explanation.error());
    if (text_field(*explanation, "verdict") != "no_resource") all.push_back(std::move(*explanation));
  }
  return all;
}

void add_instances(std::vector<Row>& rows, const json& explanation) {
  for (const json& instance : field(explanation, "instances")) {
    const std::string path = text_field(instance, "path");
    const std::string rtt = milliseconds(field(instance, "rtt_ms"));
    rows.push_back({flag_field(instance, "chosen") ? "connector" : "  other",
                    text_field(instance, "connector") + " (instance " + text_field(instance, "instance") +
                        "): " + text_field(instance, "state") +
                        (path.empty() ? "" : ", " + path_text(instance) + " " + text_field(instance, "remote")) +
                        (rtt.empty() ? "" : ", " + rtt) + "; " + text_field(instance, "why")});
  }
}

void add_path(std::vector<Row>& rows, const json& relay) {
  if (!relay.is_object()) return;
  const std::string rtt = milliseconds(field(relay, "rtt_ms"));
  rows.push_back({"path", "relay " + text_field(relay, "name") + " at " + text_field(relay, "address") +
                              (flag_field(relay, "bound") ? ", bound" : ", not bound") +
                              (text_field(relay, "transport") == "tls" ? " over TLS" : "") +
                              (rtt.empty() ? "" : ", " + rtt)});
}

std::vector<Row> detail_rows(const json& explanation) {
  std::vector<Row> rows;
  const std::string addresses = joined(field(explanation, "virtual_addresses"));
  if (!text_field(explanation, "name").empty()) {
    rows.push_back({"name", text_field(explanation, "name") + (addresses.empty() ? "" : ", here " + addresses)});
  }
  const json& resource = field(explanation, "resource");
  if (!resource.is_object()) return rows;
  rows.push_back({"resource", text_field(resource, "name") + ", by " + text_field(resource, "matched_by")});
  const std::string lease = local_time(field(explanation, "lease_expires_at"));
  rows.push_back({"rule", "TCP ports: " + text_field(resource, "tcp") + "; UDP ports: " + text_field(resource, "udp") +
                              (flag_field(resource, "icmp") ? "; ping" : "; no ping") +
                              (lease.empty() ? "; no lease" : "; leased until " + lease)});
  rows.push_back({"network", text_field(resource, "remote_network")});
  add_instances(rows, explanation);
  add_path(rows, field(explanation, "relay"));
  return rows;
}

}  // namespace

std::string explanation_text(const json& explanation) {
  const bool reached = flag_field(explanation, "reached");
  std::string text = printable(text_field(explanation, "destination") +
                               (reached ? " is reached: " : " is NOT reached: ") + text_field(explanation, "reason")) +
                     "\n";
  if (text_field(explanation, "verdict") == "no_resource") {
    text = printable(text_field(explanation, "destination") +
                     " is not reached through Postern: " + text_field(explanation, "reason")) +
           "\n";
  }
  text += table(detail_rows(explanation));
  std::vector<Row> others;
  for (const json& other : field(explanation, "others")) {
    others.push_back({text_field(other, "name"), text_field(other, "matched_by"), text_field(other, "remote_network"),
                      text_field(other, "tcp"), text_field(other, "why_not")});
  }
  if (!others.empty()) text += "Also considered:\n" + table(std::move(others));
  for (const json& note : field(explanation, "notes")) {
    if (note.is_string()) text += "Note: " + printable(note.get<std::string>()) + "\n";
  }
  for (const json& address : field(explanation, "addresses")) {
    text += "The host's DNS leads to an address that a resource covers:\n" + explanation_text(address);
  }
  return text;
}

int run_explain(const CliWorld& world, const config::Settings& settings) {
  std::string words;
  for (const std::string& word : settings.arguments()) words += (words.empty() ? "" : " ") + word;
  const auto destination = parse_destination(words);
  if (!destination) return fail(world, {ExitCode::Usage, destination.error()});
  auto explanation = ask(settings, *destination);
  if (!explanation) return fail(world, explanation.error());
  bool reached = flag_field(*explanation, "reached");
  const bool is_name = std::holds_alternative<model::DnsName>(destination->host);
  if (is_name && text_field(*explanation, "verdict") == "no_resource") {
    auto addresses = ask_about_addresses(settings, *destination);
    if (!addresses) return fail(world, addresses.error());
    for (const json& address : *addresses) reached = reached || flag_field(address, "reached");
    (*explanation)["addresses"] = std::move(*addresses);
    (*explanation)["reached"] = reached;
  }
  if (settings.enabled("json")) {
    world.out << explanation->dump(2) << std::endl;
  } else {
    world.out << explanation_text(*explanation) << std::flush;
  }
  return config::to_status(reached ? ExitCode::Ok : ExitCode::NotReached);
}

}  // namespace postern::client
