// Flows as people see them, those that run and those that ended last. Pure.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/ids.hpp"
#include "model/resource.hpp"
#include "session/flow_meter.hpp"

namespace postern::client {

using session::FlowMeter;
using session::StallCause;
using session::Stalls;

/// A flow as people see it.
struct FlowInfo {
  std::uint64_t id = 0;  ///< of flows of TCP, or of UDP and ICMP
  model::Protocol protocol = model::Protocol::Tcp;
  std::string user;  ///< the account that this client is signed in with
  model::ResourceId resource;
  std::string resource_name;  ///< empty when it is gone
  std::string destination;    ///< "db.home.lan:5432", "db.home.lan:53/udp", "db.home.lan/icmp"
  std::string connected;      ///< the address behind it; empty before the flow is open
  std::string state;          ///< "waiting", "opening", "open"; of ended flows how: "closed", "reset", a FlowRefusal
  std::string connector;
  std::string path;       ///< "relay" or "direct"; empty while there is no session
  std::string transport;  ///< "udp", or "tls" for a relay that UDP does not reach
  std::optional<Duration> round_trip;
  std::optional<Duration> connect_time;
  std::optional<Duration> open_time;
  std::optional<Duration> first_byte_time;
  std::uint64_t bytes_up = 0;
  std::uint64_t bytes_down = 0;
  Duration age{};  ///< since its start; of ended flows how long it lasted
  std::optional<Duration> ended_ago;
  Stalls stalls{};
};

/// What is remembered of flows that have ended; at the bound the oldest is forgotten.
class EndedFlows {
 public:
  explicit EndedFlows(std::size_t max) : max_(max) {}
  /// `how` becomes its state.
  void remember(Instant now, FlowInfo info, std::string_view how) {
    info.state = how;
    ended_.emplace_front(now, std::move(info));
    if (ended_.size() > max_) ended_.pop_back();
  }
  /// The one that ended last first.
  void append_to(Instant now, std::vector<FlowInfo>& all) const {
    for (const auto& [at, info] : ended_) {
      all.push_back(info);
      all.back().ended_ago = now - at;
    }
  }

 private:
  std::size_t max_;
  std::deque<std::pair<Instant, FlowInfo>> ended_;
};

struct FlowList {
  std::vector<FlowInfo> flows;
  std::size_t living = 0;  ///< how many there are, listed or not
};

}  // namespace postern::client
