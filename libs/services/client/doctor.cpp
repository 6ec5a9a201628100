#include "services/client/doctor.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>

namespace postern::client {

namespace {

/// What the protocol tolerates (PROTOCOL.md: ± 60 s).
constexpr std::chrono::seconds kClockTolerance{60};
/// QUIC's smallest datagram with IPv6 and UDP headers (RFC 9000 §14).
constexpr int kPathMtuMin = 1200 + 40 + 8;

std::string milliseconds_text(Duration duration) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f ms", std::chrono::duration<double, std::milli>(duration).count());
  return text.data();
}

std::string joined_text(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string off_by(std::chrono::seconds difference) {
  const auto size = std::chrono::abs(difference);
  const std::string amount = size < std::chrono::minutes(3)  ? std::to_string(size.count()) + " seconds"
                             : size < std::chrono::hours(3)  ? std::to_string(size.count() / 60) + " minutes"
                             : size < std::chrono::hours(72) ? std::to_string(size.count() / 3600) + " hours"
                                                             : std::to_string(size.count() / 86'400) + " days";
  return amount + (difference.count() > 0 ? " ahead of" : " behind");
}

std::string date_text(WallTime time) {
  const std::time_t seconds = static_cast<std::time_t>(to_unix_ms(time) / 1000);
  std::tm parts{};
  std::array<char, 64> text{};
  ::gmtime_r(&seconds, &parts);
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M UTC", &parts);
  return text.data();
}

class Diagnosis {
 public:
  explicit Diagnosis(const Observations& seen) : seen_(seen) {}

  std::vector<Check> run() {
    check_daemon();
    check_tun();
    check_sign_in();
    check_server();
    check_clock();
    if (!seen_.resolver.empty()) {
      check_dns();
      check_routes();
    }
    check_service();
    return std::move(checks_);
  }

 private:
  void ok(const char* id, std::string text) { checks_.push_back({id, CheckLevel::Ok, std::move(text), ""}); }
  void warn(const char* id, std::string text, std::string fix) {
    checks_.push_back({id, CheckLevel::Warn, std::move(text), std::move(fix)});
  }
  void fail(const char* id, std::string text, std::string fix) {
    checks_.push_back({id, CheckLevel::Fail, std::move(text), std::move(fix)});
  }

  void check_daemon() {
    const auto pids = [&] {
      std::vector<std::string> texts;
      for (const int pid : seen_.daemons) texts.push_back(std::to_string(pid));
      return joined_text(texts);
    };
    if (seen_.daemons.size() > 1) {
      fail("daemons", "more than one posternd runs (process ids " + pids() + ")", "stop all but one of them");
    }
    if (!seen_.daemon_problem) return ok("daemon", "posternd runs and answers");
    if (seen_.daemons.empty()) {
      return fail("daemon", "posternd does not run", "start it with `sudo systemctl start posternd` and see its log");
    }
    fail("daemon", "posternd runs (process id " + pids() + ") but does not answer: " + seen_.daemon_problem->text,
         "give `postern` the --socket that posternd was started with, or start posternd again");
  }

  void check_tun() {
    const Observations::Tun& tun = seen_.tun;
    if (seen_.works_without_tun) {
      ok("tun", "posternd works as a proxy and needs no network device");
      return check_mtu();
    }
    if (!tun.device_failure.empty()) {
      fail("tun", tun.device_failure,
           "load the driver with `sudo modprobe tun`; in a container add --device /dev/net/tun");
    } else if (seen_.daemon_may_administer == false) {
      fail("tun", "posternd has no CAP_NET_ADMIN, so it cannot make its network device",
           "run it as the system service, or in a container with --cap-add NET_ADMIN");
    } else if (seen_.resolver.empty()) {
      ok("tun", "/dev/net/tun can be opened");
    } else if (!tun.mtu) {
      fail("tun", "the network device " + tun.name + " is missing although posternd is connected",
           "start posternd again");
    } else {
      ok("tun", "the network device " + tun.name + " is there");
    }
    check_mtu();
  }

  void check_mtu() {
    const Observations::Tun& tun = seen_.tun;
    if (seen_.path_mtu && *seen_.path_mtu < kPathMtuMin) {
      return fail("mtu",
                  "the way to the server carries packets of " + std::to_string(*seen_.path_mtu) + " bytes only, and " +
                      std::to_string(kPathMtuMin) + " are needed",
                  "raise the MTU of the network device that leads to the internet");
    }
    if (tun.mtu && tun.wanted_mtu > 0 && *tun.mtu != tun.wanted_mtu) {
      return warn(
          "mtu",
          tun.name + " has an MTU of " + std::to_string(*tun.mtu) + " and should have " +
              std::to_string(tun.wanted_mtu),
          "somebody has changed it: `sudo ip link set " + tun.name + " mtu " + std::to_string(tun.wanted_mtu) + "`");
    }
    if (seen_.path_mtu)
      ok("mtu", "the way to the server carries packets of " + std::to_string(*seen_.path_mtu) + " bytes");
  }

  void check_sign_in() {
    if (!seen_.signed_in) {
      if (seen_.daemon_problem && seen_.server.empty()) return;  // nobody could be asked
      return fail("sign-in", "nobody is signed in on this device", "run `postern login URL`");
    }
    const std::string who = seen_.account + " in the network " + seen_.network;
    if (seen_.state == "online") return ok("sign-in", "signed in as " + who + ", online");
    if (seen_.state == "paused") {
      return warn("sign-in", "signed in as " + who + ", but disconnected by hand", "run `postern connect`");
    }
    if (seen_.daemon_problem) return ok("sign-in", "signed in as " + who);
    fail("sign-in", "signed in as " + who + ", but " + seen_.state + (seen_.reason.empty() ? "" : ": " + seen_.reason),
         "see the lines below");
  }

  void check_server() {
    if (seen_.server.empty()) {
      if (!seen_.daemon_problem) return;
      return warn("server", "which server this device belongs to is not known without posternd",
                  "run it as root, or name the server: `postern doctor URL`");
    }
    if (seen_.udp) check_udp(*seen_.udp);
    if (seen_.tcp) check_tcp(*seen_.tcp);
  }

  void check_udp(const Observations::Udp& udp) {
    const bool over_tls = seen_.relay && seen_.relay->bound && seen_.relay->over_tls;
    if (!udp.answered && over_tls) {
      return warn("server-udp",
                  udp.address + "/udp does not answer: " + udp.failure +
                      "; the relay is reached over TLS instead, which is slower and knows no direct path",
                  "let UDP to this port out of your network");
    }
    if (!udp.answered) {
      return fail("server-udp", udp.address + "/udp does not answer: " + udp.failure,
                  "let UDP to this port out of your network, and let the server's machine publish 443/udp as well as "
                  "443/tcp");
    }
    const std::string answered = udp.address + "/udp answers in " + milliseconds_text(udp.round_trip);
    if (!seen_.relay) return ok("server-udp", answered);
    if (over_tls) {
      return ok("server-udp", answered + "; the relay has bound this device over TLS and will soon try UDP again");
    }
    if (seen_.relay->bound) return ok("server-udp", answered + ", and the relay has bound this device");
    fail("server-udp", answered + ", but the relay at " + seen_.relay->address + " has not bound this device",
         "wait a moment and ask again; if it stays, see the log of posternd");
  }

  void check_tcp(const Observations::Tcp& tcp) {
    if (!tcp.answered && !seen_.proxy.empty() && seen_.state == "online") {
      return ok("server-tcp", seen_.server + " is reached through the proxy " + seen_.proxy);
    }
    if (tcp.answered && tcp.trusted) {
      return ok("server-tcp", seen_.server + "/tcp answers in " + milliseconds_text(tcp.took) +
                                  (seen_.has_pin ? ", with the promised key" : ", with a valid certificate"));
    }
    if (tcp.answered) {
      return fail("server-tcp", tcp.failure,
                  seen_.has_pin
                      ? "somebody stands in between (a proxy that inspects TLS?), or the server was made anew: "
                        "ask its administrator for the enrolment URL"
                      : "check this computer's clock, and whether a proxy inspects TLS; a server with its own CA "
                        "needs its enrolment URL");
    }
    fail("server-tcp", tcp.failure, "let TCP to this port out of your network, and check that the server runs");
  }

  void check_clock() {
    if (seen_.tcp && seen_.tcp->outside_validity) {
      return fail("clock",
                  "by this computer's clock it is " + date_text(seen_.tcp->local_time) +
                      ", and the server's certificate is not valid then",
                  "if that is not the time, set it: `sudo timedatectl set-ntp true`; else the server needs a new "
                  "certificate");
    }
    if (!seen_.tcp || !seen_.tcp->server_time) return;
    const auto difference =
        std::chrono::duration_cast<std::chrono::seconds>(seen_.tcp->local_time - *seen_.tcp->server_time);
    if (std::chrono::abs(difference) <= kClockTolerance)
      return ok("clock", "this computer's clock agrees with the server's");
    warn("clock",
         "this computer's clock is " + off_by(difference) +
             " the server's; Postern keeps the server's time, but certificates and other programs suffer",
         "set it: `sudo timedatectl set-ntp true`");
  }

  void check_dns() {
    constexpr const char* kFix =
        "find what changes this computer's DNS (a DHCP client, another VPN) and let it leave Postern's resolver in "
        "place; then `postern disconnect` and `postern connect`";
    const std::string manager = seen_.dns_manager.empty() ? "" : " (by way of: " + seen_.dns_manager + ")";
    const std::string problem = seen_.dns_problem.empty() ? "" : "; " + seen_.dns_problem;
    if (seen_.resource_name && !seen_.resource_name->is_virtual) {
      const Observations::Name& name = *seen_.resource_name;
      return fail("dns",
                  "the resource name " + name.name + " " +
                      (name.addresses.empty() ? "does not resolve" : "resolves to " + joined_text(name.addresses)) +
                      ", not by Postern's resolver " + seen_.resolver + "; /etc/resolv.conf has " +
                      (seen_.name_servers.empty() ? "no server" : joined_text(seen_.name_servers)) + manager + problem,
                  kFix);
    }
    if (!problem.empty()) {
      return seen_.resource_name ? warn("dns", "names resolve, but" + problem.substr(1), kFix)
                                 : fail("dns", seen_.dns_problem, kFix);
    }
    if (!seen_.resource_name) return ok("dns", "Postern's resolver is " + seen_.resolver + manager);
    ok("dns", seen_.resource_name->name + " resolves to " + joined_text(seen_.resource_name->addresses) + manager);
  }

  void check_routes() {
    if (!seen_.missing_routes) return;
    if (seen_.missing_routes->empty()) return ok("routes", "all " + std::to_string(seen_.routes) + " routes are there");
    std::vector<std::string> some = *seen_.missing_routes;
    const std::size_t count = some.size();
    some.resize(std::min<std::size_t>(count, 5));
    fail("routes",
         std::to_string(count) + " of " + std::to_string(seen_.routes) + " routes are missing: " + joined_text(some) +
             (count > some.size() ? ", …" : ""),
         "another program has removed or taken them: `postern disconnect`, then `postern connect`");
  }

  void check_service() {
    if (!seen_.service) return;
    if (!seen_.service->has_unit) {
      return warn("service", "there is no systemd unit posternd.service, so Postern does not start at boot",
                  "install the unit that came with the package");
    }
    if (!seen_.service->is_enabled) {
      return warn("service", "posternd.service is not enabled, so Postern does not start at boot",
                  "run `sudo systemctl enable posternd`");
    }
    ok("service", "posternd.service is installed and enabled");
  }

  const Observations& seen_;
  std::vector<Check> checks_;
};

}  // namespace

std::string_view to_string(CheckLevel level) {
  constexpr std::array<std::string_view, 3> kWords = {"ok", "warn", "fail"};
  return kWords[static_cast<std::size_t>(level)];
}

std::vector<Check> diagnose(const Observations& seen) {
  return Diagnosis(seen).run();
}

}  // namespace postern::client
