#include "sim/controller_node.hpp"

namespace postern::sim {
namespace {

using namespace std::chrono_literals;
using namespace controller;

constexpr std::int64_t kUnixStart = 1'800'000'000'000;
/// How soon TCP tries again what has not got through.
constexpr Duration kTcpAgain = 500ms;

}  // namespace

ControllerNode::ControllerNode(Fabric& fabric, HostId host)
    : Node(fabric), host_(host), signing_(identity::PrivateKey::generate(fabric.random)) {
  const CommandContext context{"admin:sim", "sim", wall()};
  stored_.apply(found_network({model::NetworkId(1), "home", "Home", "https://198.51.100.1", ""}, context).value());
}

WallTime ControllerNode::wall() const {
  const auto since = std::chrono::duration_cast<std::chrono::milliseconds>(fabric_.time.now().time_since_epoch());
  return from_unix_ms(kUnixStart) + since + jump_;
}

void ControllerNode::start() {
  ++run_;
  controller_ =
      std::make_unique<Controller>(ControllerConfig{}, ControllerKeys{signing_, Bytes(32, 9)}, fabric_.random);
  controller_->load(fabric_.time.now(), wall(), records_of(stored_));
  relay_->start();
  for (const RouteId& route : controller_->revoked_routes()) relay_->revoke(route);
  controller_->set_relay(fabric_.time.now(), relay_->endpoint());
  wake();
}

void ControllerNode::stop() {
  relay_->stop();
  controller_ = nullptr;
  for (auto& [number, pipe] : std::exchange(pipes_, {})) {
    pipe->server_open = false;
    pipe->down.clear();  // what the kernel had not sent yet goes with the process
    pipe->down.emplace_back(Pipe::End{});
    move_down(pipe);
  }
}

CommandResult ControllerNode::run(const Command& command) {
  auto planned = controller_->plan(command, {"admin:sim", "sim", wall()});
  if (!planned) throw Violation("a command that should be fine was refused: " + planned.error().message);
  stored_.apply(planned->changes);
  controller_->apply(fabric_.time.now(), wall(), planned->changes);
  drain();
  wake();
  return std::move(*planned);
}

// --- connections -----------------------------------------------------------------------------------------------------

bool ControllerNode::passes(const Pipe& pipe) const {
  return fabric_.network.is_connected(pipe.agent, host_) && fabric_.network.place(pipe.agent) == pipe.place;
}

void ControllerNode::open(const std::shared_ptr<Pipe>& pipe) {
  pipe->number = ConnectionNumber(next_number_++);
  pipe->server_run = run_;
  pipes_[pipe->number] = pipe;
  controller_->handle_connect(fabric_.time.now(), wall(), pipe->number, "203.0.113.7:5000");
  drain();
  wake();
}

void ControllerNode::send_by_agent(const std::shared_ptr<Pipe>& pipe, wire::AgentMessage message) {
  pipe->up.emplace_back(std::move(message));
  move_up(pipe);
}

void ControllerNode::close_by_agent(const std::shared_ptr<Pipe>& pipe, ConnectionEnd end) {
  pipe->agent_open = false;
  pipe->to_agent = nullptr;
  pipe->up.emplace_back(end);
  move_up(pipe);
}

void ControllerNode::move_up(const std::shared_ptr<Pipe>& pipe) {
  if (std::exchange(pipe->up_moves, true)) return;
  const Duration wait = passes(*pipe) ? fabric_.network.delay(pipe->agent, host_) : kTcpAgain;
  fabric_.time.after(wait, [this, pipe] {
    pipe->up_moves = false;
    // A connection whose address is gone carries nothing any more; both ends find out by silence.
    if (!pipe->server_open || run_ != pipe->server_run || fabric_.network.place(pipe->agent) != pipe->place) return;
    if (!passes(*pipe)) return move_up(pipe);
    while (!pipe->up.empty() && controller_ != nullptr && pipe->server_open) {
      const auto what = std::move(pipe->up.front());
      pipe->up.pop_front();
      if (const auto* message = std::get_if<wire::AgentMessage>(&what)) {
        controller_->handle_message(fabric_.time.now(), wall(), pipe->number, *message);
      } else {
        pipe->server_open = false;
        pipes_.erase(pipe->number);
        controller_->handle_disconnect(fabric_.time.now(), wall(), pipe->number, std::get<ConnectionEnd>(what));
      }
      drain();
      wake();
    }
  });
}

void ControllerNode::move_down(const std::shared_ptr<Pipe>& pipe) {
  if (std::exchange(pipe->down_moves, true)) return;
  const Duration wait = passes(*pipe) ? fabric_.network.delay(pipe->agent, host_) : kTcpAgain;
  fabric_.time.after(wait, [this, pipe] {
    pipe->down_moves = false;
    if (!pipe->agent_open || fabric_.network.place(pipe->agent) != pipe->place) return;
    if (!passes(*pipe)) return move_down(pipe);
    while (!pipe->down.empty() && pipe->agent_open) {
      auto what = std::move(pipe->down.front());
      pipe->down.pop_front();
      const auto to_agent = pipe->to_agent;
      if (to_agent) to_agent(what);
    }
  });
}

// --- the core
// ----------------------------------------------------------------------------------------------------------

void ControllerNode::turn(Instant now) {
  if (!controller_) return;
  if (const auto due = controller_->next_timeout(); due && *due <= now) controller_->handle_timeout(now, wall());
  drain();
}

std::optional<Instant> ControllerNode::next_timeout() const {
  return controller_ ? controller_->next_timeout() : std::nullopt;
}

void ControllerNode::drain() {
  while (controller_) {
    auto output = controller_->poll_output();
    if (!output) return;
    std::visit([this](auto& each) { handle(each); }, *output);
  }
}

void ControllerNode::handle(SendMessage& output) {
  const auto found = pipes_.find(output.connection);
  if (found == pipes_.end()) return;
  found->second->down.emplace_back(std::move(output.message));
  move_down(found->second);
}

void ControllerNode::handle(CloseConnection& output) {
  const auto found = pipes_.find(output.connection);
  if (found == pipes_.end()) return;
  const auto pipe = found->second;
  pipes_.erase(found);
  pipe->server_open = false;
  pipe->down.emplace_back(Pipe::End{});
  move_down(pipe);
}

void ControllerNode::handle(CommitFirst& output) {
  stored_.apply(output.changes);
  controller_->handle_committed(fabric_.time.now(), wall(), output.ticket, true);
}

void ControllerNode::handle(RevokeRoute& output) {
  relay_->revoke(output.route);
}

void ControllerNode::handle(FlowLogged& /*output*/) {
  ++flows_logged;
}

}  // namespace postern::sim
