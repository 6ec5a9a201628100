#include "sim/control_agent.hpp"

#include "identity/tokens.hpp"
#include "sim/controller_node.hpp"

namespace postern::sim {
namespace {

using namespace std::chrono_literals;

// As in runtime/http/control_client.cpp and websocket.hpp.
constexpr Duration kRetryFirst = 200ms;
constexpr Duration kRetryMax = 30s;
constexpr Duration kRetryTaken = 10s;
constexpr Duration kProvenAfter = 10s;
constexpr Duration kConnectMax = 15s;
constexpr Duration kAuthenticateMax = 15s;
constexpr Duration kSilenceMax = 30s;

std::string role_word(wire::AgentRole role) {
  if (role == wire::AGENT_ROLE_CLIENT) return "client";
  return role == wire::AGENT_ROLE_CONNECTOR ? "connector" : "relay";
}

}  // namespace

ControlAgent::ControlAgent(Fabric& fabric, ControllerNode& server, HostId host, AgentIdentity identity,
                           AgentEvents events)
    : fabric_(fabric), server_(server), host_(host), identity_(std::move(identity)), events_(std::move(events)) {}

void ControlAgent::later(Duration wait, void (ControlAgent::*action)()) {
  fabric_.time.after(wait, [self = weak_from_this(), attempt = attempt_, action] {
    const auto agent = self.lock();
    if (agent && agent->attempt_ == attempt && !agent->stopped_) (agent.get()->*action)();
  });
}

bool ControlAgent::path_works() const {
  return fabric_.network.is_connected(host_, server_.host());
}

void ControlAgent::stop() {
  stopped_ = true;
  ++attempt_;
  healthy_since_.reset();
  if (pipe_) server_.close_by_agent(pipe_, controller::ConnectionEnd::Cut);
  pipe_ = nullptr;
}

void ControlAgent::attempt() {
  ++attempt_;
  waiting_ = false;
  const bool can_try = fabric_.network.is_host_up(host_) && fabric_.network.link(fabric_.network.lan_of(host_)).up;
  if (path_works()) return later(3 * 2 * fabric_.network.delay(host_, server_.host()), &ControlAgent::connected);
  // Without a network of its own the host says so at once; otherwise the packets vanish.
  later(can_try ? kConnectMax : Duration(1ms), &ControlAgent::connected);
}

void ControlAgent::connected() {
  if (!path_works() || !server_.is_running()) return go_down({0, "the server cannot be reached", false});
  ++attempt_;
  welcomed_ = false;
  opened_ = heard_ = fabric_.time.now();
  pipe_ = std::make_shared<Pipe>();
  pipe_->agent = host_;
  pipe_->server = server_.host();
  pipe_->place = fabric_.network.place(host_);
  pipe_->to_agent = [self = weak_from_this()](auto& what) {
    if (const auto agent = self.lock()) agent->receive(what);
  };
  server_.open(pipe_);
  check_silence();
}

/// Pings of the WebSocket come back while the path works.
void ControlAgent::check_silence() {
  if (!pipe_) return;
  const Instant now = fabric_.time.now();
  if (server_.passes(*pipe_) && pipe_->server_open) heard_ = now;
  update_health();
  if (!welcomed_ && now - opened_ >= kAuthenticateMax) return go_down({0, "it did not let this agent in", false});
  if (now - heard_ >= kSilenceMax) return go_down({0, "the server is silent", false});
  if (welcomed_ && now - opened_ >= kProvenAfter) failures_ = 0;
  later(5s, &ControlAgent::check_silence);
}

void ControlAgent::update_health() {
  const bool is_healthy = pipe_ && welcomed_ && pipe_->server_open && server_.is_running() && server_.passes(*pipe_);
  if (!is_healthy) healthy_since_.reset();
  if (is_healthy && !healthy_since_) healthy_since_ = fabric_.time.now();
}

void ControlAgent::receive(std::variant<wire::ControllerMessage, Pipe::End>& what) {
  if (stopped_) return;
  heard_ = fabric_.time.now();
  if (std::holds_alternative<Pipe::End>(what)) return go_down({0, "the connection ended", false});
  const auto& message = std::get<wire::ControllerMessage>(what);
  fabric_.trace.add(static_cast<std::uint64_t>(message.body_case()) ^ message.ByteSizeLong() << 8);
  if (message.has_challenge()) return answer(message.challenge());
  if (message.has_denied()) {
    const std::uint32_t code = message.denied().code();
    return go_down({code, message.denied().reason(), code == 401 || code == 410});
  }
  if (message.has_welcome()) {
    route_ = message.welcome().route_id();
    if (!std::exchange(welcomed_, true)) events_.up();
    update_health();
  }
  if (welcomed_ && !stopped_) events_.message(message);
}

void ControlAgent::answer(const wire::Challenge& challenge) {
  const Bytes input =
      identity::control_signature_input(as_bytes(challenge.nonce()), challenge.network(), role_word(identity_.role));
  wire::AgentMessage reply;
  wire::Authenticate& who = *reply.mutable_authenticate();
  who.set_role(identity_.role);
  who.set_public_key(std::string(as_text(identity_.key.public_key().spki())));
  who.set_signature(std::string(as_text(identity_.key.sign(input))));
  who.set_refresh_token(identity_.refresh_token);
  who.set_software("postern-sim");
  who.set_hostname("host" + std::to_string(host_));
  who.set_known_version(known_version_);
  who.set_route_id(route_);
  server_.send_by_agent(pipe_, std::move(reply));
}

void ControlAgent::send(const wire::AgentMessage& message) {
  if (pipe_ && welcomed_) server_.send_by_agent(pipe_, message);
}

void ControlAgent::cut() {
  if (!pipe_) return;
  go_down({0, "the connection was reset", false}, controller::ConnectionEnd::Cut);
}

void ControlAgent::go_down(Down down, controller::ConnectionEnd end) {
  ++attempt_;
  welcomed_ = false;
  healthy_since_.reset();
  if (pipe_) server_.close_by_agent(pipe_, end);
  pipe_ = nullptr;
  if (down.code == 409) {
    retry(kRetryTaken / 2, kRetryTaken);
    waiting_ = false;
  } else if (!down.final) {
    retry(0ms, std::min(kRetryMax, kRetryFirst * (1 << std::min(failures_, 8U))));
  }
  events_.down(down);
}

void ControlAgent::retry(Duration at_least, Duration at_most) {
  ++failures_;
  waiting_ = true;
  const auto room = static_cast<std::uint64_t>((at_most - at_least).count());
  later(at_least + Duration(static_cast<Duration::rep>(fabric_.random.below(room + 1))), &ControlAgent::attempt);
}

void ControlAgent::reconnect_now() {
  if (!waiting_ || stopped_) return;
  failures_ = 0;
  attempt();
}

}  // namespace postern::sim
