#include "services/server/controller_host.hpp"

#include <algorithm>
#include <utility>

#include "runtime/loop/event_loop.hpp"

namespace postern::server {
namespace {

using runtime::monotonic_now;
using runtime::wall_now;

constexpr std::string_view kBusy =
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 30\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// Flow records are written together; when this many wait, new ones are dropped and counted.
constexpr std::size_t kFlowsWaitingMax = 8192;
constexpr std::chrono::seconds kFlowsEvery{1};
/// A deadline that is due is handled at once; never spin on one that a step does not move.
constexpr std::chrono::milliseconds kTimerLeast{1};

}  // namespace

ControllerHost::ControllerHost(runtime::IoLoop& loop, controller::Controller& controller, runtime::Store& store,
                               model::NetworkId network, runtime::Logger& log, RevokeRoute revoke_route,
                               std::size_t connections_max)
    : loop_(loop),
      controller_(controller),
      store_(store),
      network_(network),
      log_(log),
      revoke_route_(std::move(revoke_route)),
      connections_max_(connections_max),
      timer_(loop),
      flow_timer_(loop) {}

ControllerHost::~ControllerHost() {
  for (const auto& [number, socket] : connections_) {
    socket->forget();
    socket->abort();
  }
}

std::expected<controller::CommandResult, ServerError> ControllerHost::execute(const controller::Command& command,
                                                                              std::string_view actor,
                                                                              std::string_view origin) {
  auto planned = controller_.plan(command, {std::string(actor), std::string(origin), wall_now()});
  if (!planned) return std::unexpected(to_server_error(planned.error()));
  if (auto committed = commit(planned->changes); !committed) return std::unexpected(committed.error());
  controller_.apply(monotonic_now(), wall_now(), planned->changes);
  drain();
  changed_();
  return std::move(*planned);
}

std::expected<void, ServerError> ControllerHost::commit(const controller::ChangeSet& changes) {
  if (changes.changes.empty() && changes.audit.empty()) return {};
  const auto committed = store_.commit(network_, changes);
  if (committed) return {};
  log_.error("A change could not be stored", {{"reason", committed.error().message}});
  return std::unexpected(to_server_error(committed.error()));
}

void ControllerHost::set_relay(const controller::RelayEndpoint& relay) {
  controller_.set_relay(monotonic_now(), relay);
  drain();
}

void ControllerHost::set_relay_names(model::RelayId relay, std::vector<SocketAddress> addresses) {
  controller_.set_relay_names(monotonic_now(), relay, std::move(addresses));
  drain();
}

void ControllerHost::take_connection(std::shared_ptr<runtime::ByteStream> stream, const runtime::HttpRequest& request) {
  if (connections_.size() >= connections_max_) {
    ++counters_.refused_busy;
    stream->write_some(as_bytes(kBusy), [stream](std::error_code, std::size_t) { stream->shutdown(); });
    return;
  }
  ++counters_.opened;
  const controller::ConnectionNumber number(next_number_++);
  const std::string address = stream->remote();
  runtime::WebSocket::Events events{
      .opened =
          [this, number, address] {
            controller_.handle_connect(monotonic_now(), wall_now(), number, address);
            drain();
          },
      .message = [this, number](ByteView bytes) { handle_message(number, bytes); },
      .closed = [this, number](const std::string& reason) { handle_closed(number, reason); }};
  log_.debug("An agent opens its control channel", {{"address", address}, {"connection", number.value}});
  connections_[number] = runtime::WebSocket::accept(loop_, std::move(stream), request, {}, std::move(events));
}

void ControllerHost::handle_message(controller::ConnectionNumber number, ByteView bytes) {
  wire::AgentMessage message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    ++counters_.malformed;
    if (const auto found = connections_.find(number); found != connections_.end()) found->second->abort();
    return;
  }
  controller_.handle_message(monotonic_now(), wall_now(), number, message);
  drain();
}

void ControllerHost::handle_closed(controller::ConnectionNumber number, const std::string& reason) {
  log_.debug("A control channel ended", {{"connection", number.value}, {"reason", reason}});
  const auto found = connections_.find(number);
  const bool was_cut = found != connections_.end() && found->second->was_cut();
  connections_.erase(number);
  controller_.handle_disconnect(monotonic_now(), wall_now(), number,
                                was_cut ? controller::ConnectionEnd::Cut : controller::ConnectionEnd::Lost);
  drain();
}

void ControllerHost::drain() {
  if (std::exchange(draining_, true)) return;
  while (auto output = controller_.poll_output()) {
    std::visit([this](auto& each) { handle(std::move(each)); }, *output);
  }
  draining_ = false;
  arm_timer();
}

void ControllerHost::handle(controller::SendMessage output) {
  const auto found = connections_.find(output.connection);
  if (found == connections_.end()) return;
  Bytes bytes(output.message.ByteSizeLong());
  output.message.SerializeToArray(bytes.data(), static_cast<int>(bytes.size()));
  if (!found->second->send(std::move(bytes)))
    log_.debug("An agent reads too slowly", {{"address", found->second->remote()}});
}

void ControllerHost::handle(const controller::CloseConnection& output) {
  const auto found = connections_.find(output.connection);
  if (found != connections_.end()) found->second->close();
}

void ControllerHost::handle(const controller::CommitFirst& output) {
  const bool ok = commit(output.changes).has_value();
  for (const controller::AuditEntry& entry : output.changes.audit) {
    // Whoever holds a token can do this: it is worth a line besides the audit entry.
    if (ok) log_.info("A new key has enrolled", {{"what", entry.subject}, {"by", entry.actor}, {"from", entry.origin}});
  }
  controller_.handle_committed(monotonic_now(), wall_now(), output.ticket, ok);
}

void ControllerHost::handle(const controller::RevokeRoute& output) {
  revoke_route_(output.route);
}

void ControllerHost::handle(const controller::FlowLogged& output) {
  if (flows_.size() >= kFlowsWaitingMax) {
    ++counters_.flows_dropped;
    return;
  }
  const wire::FlowRecord& record = output.record;
  runtime::FlowLogEntry entry;
  entry.at = wall_now();
  entry.connector = output.connector;
  entry.user = model::UserId(record.user_id());
  entry.device = model::DeviceId(record.device_id());
  entry.resource = model::ResourceId(record.resource_id());
  entry.target = record.target();
  entry.refusal = record.refusal();
  entry.bytes_to_target = record.bytes_to_target();
  entry.bytes_from_target = record.bytes_from_target();
  entry.started_at = from_unix_ms(record.started_at_ms());
  entry.duration_ms = record.duration_ms();
  entry.policy_version = record.policy_version();
  entry.path = record.path();
  if (flows_.empty()) flow_timer_.start(kFlowsEvery, [this] { write_flows(); });
  flows_.push_back(std::move(entry));
}

void ControllerHost::write_flows() {
  if (flows_.empty()) return;
  const auto written = store_.append_flows(network_, flows_);
  if (!written) {
    counters_.flows_dropped += flows_.size();
    log_.error("Flow records could not be stored", {{"reason", written.error().message}});
  }
  flows_.clear();
}

void ControllerHost::arm_timer() {
  const auto due = controller_.next_timeout();
  if (!due) return timer_.cancel();
  const Duration wait = std::max<Duration>(*due - monotonic_now(), kTimerLeast);
  timer_.start(wait, [this] {
    controller_.handle_timeout(monotonic_now(), wall_now());
    drain();
  });
}

void ControllerHost::stop() {
  timer_.cancel();
  flow_timer_.cancel();
  write_flows();
  for (const auto& [number, socket] : connections_) {
    socket->forget();
    socket->close();
  }
}

}  // namespace postern::server
