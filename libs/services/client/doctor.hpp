// `postern doctor`: from what was observed to a list of checks, each with its fix. Pure; observe.hpp does the looking.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "services/client/problem.hpp"

namespace postern::client {

/// What was seen of this computer, the daemon and the server. What could not be looked at is absent.
struct Observations {
  // the daemon
  std::optional<Problem> daemon_problem;  ///< why it does not answer
  std::vector<int> daemons;               ///< process ids in this network namespace, watchdogs left out
  std::string state;                      ///< its word
  std::string reason;
  bool signed_in = false;
  std::string account;
  std::string network;
  std::optional<bool> daemon_may_administer;  ///< has CAP_NET_ADMIN

  // the server
  std::string server;  ///< "host:port"; empty: not known
  bool has_pin = false;
  struct Tcp {
    bool answered = false;
    bool trusted = false;
    bool outside_validity = false;  ///< not trusted because of the time by this computer's clock
    std::string failure;
    Duration took{};
    std::optional<WallTime> server_time;
    WallTime local_time;  ///< when the answer came
  };
  std::optional<Tcp> tcp;
  struct Udp {
    bool answered = false;
    std::string address;
    Duration round_trip{};
    std::string failure;
  };
  std::optional<Udp> udp;
  struct Relay {
    std::string address;
    bool bound = false;
    bool over_tls = false;
  };
  std::optional<Relay> relay;
  std::string proxy;            ///< that the daemon goes through; empty: none
  std::optional<int> path_mtu;  ///< of the way to the server

  // the host
  std::string dns_manager;  ///< who owns the host's DNS, as the daemon says it
  std::string dns_problem;  ///< the daemon's sentence; empty when all is well
  std::string resolver;     ///< our resolver's address; empty: not connected
  std::vector<std::string> name_servers;
  struct Name {
    std::string name;
    std::vector<std::string> addresses;
    bool is_virtual = false;
  };
  std::optional<Name> resource_name;
  std::optional<std::vector<std::string>> missing_routes;
  std::size_t routes = 0;
  struct Tun {
    std::string device_failure;  ///< of /dev/net/tun; empty: it can be opened
    std::string name;
    std::optional<int> mtu;  ///< nothing: there is no such interface
    int wanted_mtu = 0;
  };
  Tun tun;
  bool works_without_tun = false;  ///< the daemon is a proxy only
  struct Service {
    bool has_unit = false;
    bool is_enabled = false;
  };
  std::optional<Service> service;  ///< where systemd runs
};

enum class CheckLevel : std::uint8_t { Ok, Warn, Fail };
struct Check {
  std::string id;  ///< "server-udp": stable, for scripts
  CheckLevel level = CheckLevel::Ok;
  std::string text;
  std::string fix;  ///< of those that are not ok
};
[[nodiscard]] std::string_view to_string(CheckLevel level);

[[nodiscard]] std::vector<Check> diagnose(const Observations& seen);

}  // namespace postern::client
