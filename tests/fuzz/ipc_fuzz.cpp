// Lines from the command line and the tray to the daemon, and the answers; and the text of /etc/resolv.conf.
//
// Holds: a request that parses is built and parsed again to the same; every answer is one line that a JSON reader
// takes, whatever names and sentences it carries; servers read from resolv.conf are at most eight, and the file that we
// render is known as ours, names one server and keeps search and options.
#include <nlohmann/json.hpp>

#include "fuzz.hpp"
#include "services/client/ipc_protocol.hpp"
#include "services/client/resolv_conf.hpp"

namespace {

using namespace postern;
using namespace postern::client;

void check_line(const std::string& line) {
  FUZZ_CHECK(line.ends_with('\n') && line.find('\n') == line.size() - 1);
  FUZZ_CHECK(nlohmann::json::parse(line, nullptr, false).is_object());
}

void check_request(std::string_view text) {
  const auto request = parse_request(text);
  if (!request) {
    FUZZ_CHECK(!request.error().empty());
    return check_line(build_error({config::ExitCode::Usage, request.error()}));
  }
  const std::string built = build_request(*request);
  check_line(built);
  const auto again = parse_request(built);
  FUZZ_CHECK(again && again->type == request->type && again->watch == request->watch && again->url == request->url &&
             again->fingerprint == request->fingerprint && again->destination == request->destination);
}

void check_answers(std::string_view text) {
  const std::string said(text);
  ClientStatus status;
  status.reason = status.network = status.account = said;
  ResourceStatus& resource = status.resources.emplace_back();
  resource.name = resource.address = resource.remote_network = resource.tcp_ports = said;
  resource.aliases = {said};
  SessionStatus& session = status.sessions.emplace_back();
  session.connector = session.remote_network = session.state = session.failure = said;
  status.drops[said] = 1;
  check_line(build_status(status, Last::Yes));
  check_line(build_invitation({.url = said, .complete_url = said, .code = said, .expires_in_s = 1}));
  check_line(build_done(said));
  check_line(build_version(said));
  check_line(build_error({config::ExitCode::Failure, said}));
}

void check_resolv_conf(std::string_view text) {
  const ResolvConf conf = ResolvConf::parse(text);
  FUZZ_CHECK(conf.servers.size() <= 8);
  const std::string ours = render_resolv_conf(IpAddress::v4(100, 96, 0, 2), conf);
  FUZZ_CHECK(is_ours(ours));
  const ResolvConf again = ResolvConf::parse(ours);
  FUZZ_CHECK(again.servers == std::vector{IpAddress::v4(100, 96, 0, 2)});
  FUZZ_CHECK(again.search == conf.search && again.options == conf.options);
}

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  return {text_seed(R"(0{"v": 1, "type": "login", "url": "https://x/#ca=y", "fingerprint": "z"})"),
          text_seed(R"(0{"v": 1, "type": "status", "watch": true})"),
          text_seed(R"(0{"v": 1, "type": "explain", "destination": "nginx.home.lan:443"})"),
          text_seed(R"(0{"v": 2, "type": 7})"),
          text_seed("1\xff\xfeline\nbreak \"quoted\""),
          text_seed("2nameserver 192.0.2.1\nnameserver fe80::1%eth0\nsearch a b\noptions ndots:2 edns0\n; comment\n"),
          text_seed("2domain home.lan\r\nsortlist 10.0.0.0/8\n# Made by posternd.\n")};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text = as_text({data + 1, size - 1});
  switch (data[0] % 3) {
    case 0:
      check_request(text);
      break;
    case 1:
      check_answers(text);
      break;
    default:
      check_resolv_conf(text);
  }
  return 0;
}
