#include "services/client/cli_flows.hpp"

#include <sys/poll.h>

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <ostream>

#include "services/client/cli_text.hpp"
#include "services/client/daemon_line.hpp"
#include "services/client/json_fields.hpp"
#include "services/client/text_table.hpp"

namespace postern::client {

namespace {

using nlohmann::json;

constexpr int kWatchIntervalMs = 1000;
/// A stall that no person would notice is left out of the text.
constexpr double kStallShownMs = 50;

std::string format(const char* pattern, double value) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), pattern, value);
  return text.data();
}

std::string bytes_text(const json& value) {
  if (!value.is_number()) return "";
  double size = value.get<double>();
  if (size < 1000) return format("%.0f B", size);
  for (const char* unit : {"%.1f kB", "%.1f MB", "%.1f GB"}) {
    size /= 1000;
    if (size < 1000) return format(unit, size);
  }
  return format("%.1f TB", size / 1000);
}

std::string duration_text(const json& value) {
  if (!value.is_number()) return "";
  const double ms = value.get<double>();
  if (ms < 1000) return format("%.0f ms", ms);
  if (ms < 120'000) return format("%.1f s", ms / 1000);
  return ms < 7'200'000 ? format("%.0f min", ms / 60'000) : format("%.1f h", ms / 3'600'000);
}

std::string stalls_text(const json& stalls) {
  std::string text;
  const std::array<std::pair<const char*, const char*>, 4> causes = {{{"path_ms", "path"},
                                                                      {"slow_server_ms", "slow server"},
                                                                      {"slow_reader_ms", "slow reader"},
                                                                      {"our_window_ms", "our window"}}};
  for (const auto& [key, word] : causes) {
    const json& value = field(stalls, key);
    if (!value.is_number() || value.get<double>() < kStallShownMs) continue;
    text += (text.empty() ? "" : ", ") + std::string(word) + " " + duration_text(value);
  }
  return text;
}

Row row_of(const json& flow) {
  const json& ended = field(flow, "ended_ago_ms");
  return {text_field(flow, "resource"),
          text_field(flow, "destination"),
          text_field(flow, "state") + (ended.is_number() ? ", " + duration_text(ended) + " ago" : ""),
          path_text(flow),
          milliseconds(field(flow, "rtt_ms")),
          milliseconds(field(flow, "connect_ms")),
          milliseconds(field(flow, "first_byte_ms")),
          bytes_text(field(flow, "bytes_up")),
          bytes_text(field(flow, "bytes_down")),
          duration_text(field(flow, "age_ms")),
          stalls_text(field(flow, "stalls"))};
}

}  // namespace

std::string flows_text(const json& answer) {
  std::vector<Row> rows = {
      {"RESOURCE", "DESTINATION", "STATE", "PATH", "RTT", "CONNECT", "FIRST BYTE", "UP", "DOWN", "AGE", "STALLS"}};
  std::size_t living = 0;
  for (const json& flow : field(answer, "flows")) {
    living += field(flow, "ended_ago_ms").is_number() ? 0U : 1U;
    rows.push_back(row_of(flow));
  }
  if (rows.size() == 1) return "No connection has been opened yet.\n";
  std::string text = table(std::move(rows));
  const auto all = static_cast<std::size_t>(number_field(answer, "living"));
  if (all > living) text += "and " + std::to_string(all - living) + " older ones that run\n";
  return text;
}

int run_flows(const CliWorld& world, const config::Settings& settings) {
  auto daemon = DaemonLine::open(settings.text("socket"));
  if (!daemon) return fail(world, daemon.error());
  Request request;
  request.type = RequestType::Flows;
  const bool watch = settings.enabled("watch");
  while (true) {
    daemon->send(request);
    const auto answer = daemon->next();
    if (!answer) return fail(world, answer.error());
    if (settings.enabled("json")) {
      json shown = {{"flows", field(*answer, "flows")}, {"living", field(*answer, "living")}};
      world.out << shown.dump(watch ? -1 : 2) << std::endl;
    } else {
      world.out << flows_text(*answer) << (watch ? "\n" : "") << std::flush;
    }
    if (!watch || !world.out) return 0;
    ::poll(nullptr, 0, kWatchIntervalMs);
  }
}

}  // namespace postern::client
