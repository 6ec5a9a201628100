#include "sim/targets.hpp"

#include <algorithm>

#include "tcp/scripted_kernel_test_util.hpp"

namespace postern::sim {
namespace {

using namespace std::chrono_literals;
using tcp::test::content;

constexpr Duration kLookUp = 3ms;
constexpr Duration kConnect = 1ms;
/// A host that is not there: how long the kernel asks for its address.
constexpr Duration kUnreachable = 3s;
constexpr std::size_t kPieces = 16;
constexpr std::size_t kWriteMax = 16'000;

}  // namespace

Targets::Targets(Node& owner, Fabric& fabric, const PrivateNetwork& network, connector::Connector& core,
                 BlockPool& pool, TargetEvents events)
    : owner_(owner), fabric_(fabric), network_(network), core_(core), pool_(pool), events_(std::move(events)) {}

Targets::~Targets() {
  for (const auto& [flow, connection] : connections_) events_.ended(connection.port);
}

void Targets::later(Duration wait, std::function<void()> action) {
  fabric_.time.after(wait, [this, alive = std::weak_ptr<bool>(alive_), action = std::move(action)] {
    if (alive.expired()) return;
    action();
    owner_.wake();
  });
}

void Targets::handle(const connector::Request& request) {
  if (const auto* look_up = std::get_if<connector::ResolveName>(&request)) return resolve(*look_up);
  if (const auto* connection = std::get_if<connector::ConnectTcp>(&request)) return connect(*connection);
  if (const auto* bytes = std::get_if<connector::WriteTarget>(&request)) return write(bytes->flow);
  if (const auto* finish = std::get_if<connector::FinishTarget>(&request)) {
    const auto found = connections_.find(finish->flow);
    if (found != connections_.end()) found->second.peer_finished = true;
    return;
  }
  if (const auto* close = std::get_if<connector::CloseTarget>(&request)) return end(close->flow);
  if (const auto* abort = std::get_if<connector::AbortTarget>(&request)) return end(abort->flow);
}

void Targets::resolve(const connector::ResolveName& request) {
  later(kLookUp, [this, request] {
    const auto found = network_.names.find(request.name.text());
    if (found == network_.names.end()) {
      core_.flows().handle_resolved(fabric_.time.now(), request.flow,
                                    std::unexpected(connector::ResolveFailure::NameNotFound));
    } else {
      core_.flows().handle_resolved(fabric_.time.now(), request.flow, std::vector<IpAddress>{found->second});
    }
  });
}

void Targets::connect(const connector::ConnectTcp& request) {
  const SocketAddress to = request.addresses.front();
  const auto host = network_.hosts.find(to.ip);
  const bool is_there = host != network_.hosts.end();
  later(is_there ? kConnect : kUnreachable,
        [this, flow = request.flow, to, is_there, listens = is_there && host->second] {
          const Instant now = fabric_.time.now();
          if (!listens) {
            core_.flows().handle_connect_failed(
                now, flow, is_there ? wire::REFUSAL_CONNECTION_REFUSED : wire::REFUSAL_HOST_UNREACHABLE, "no");
            return;
          }
          connections_[flow].port = to.port;
          core_.flows().handle_connected(now, flow, to, kConnect);
          events_.opened(to.port);
        });
}

void Targets::write(connector::FlowId flow) {
  std::array<ByteView, kPieces> pieces;
  while (true) {
    const auto found = connections_.find(flow);
    if (found == connections_.end()) return;
    const std::size_t count = core_.flows().gather(flow, pieces);
    std::size_t size = 0;
    for (std::size_t i = 0; i < count; ++i) {
      for (const std::uint8_t byte : pieces[i]) {
        if (byte != content(found->second.received++, 1)) throw Violation("a target received a wrong byte");
      }
      size += pieces[i].size();
    }
    if (size == 0) return;
    core_.flows().handle_written(fabric_.time.now(), flow, size);
  }
}

void Targets::pump() {
  std::vector<connector::FlowId> flows;
  for (const auto& [flow, connection] : connections_) flows.push_back(flow);
  for (const connector::FlowId flow : flows) {
    const auto found = connections_.find(flow);
    if (found != connections_.end()) send(flow, found->second);
  }
}

void Targets::send(connector::FlowId flow, Connection& connection) {
  const std::uint64_t all = bulk_of(connection.port) + connection.received;
  while (connection.sent < all) {
    const std::size_t room = core_.flows().read_budget(fabric_.time.now(), flow);
    const auto size = std::min<std::uint64_t>({all - connection.sent, room, kWriteMax});
    if (size == 0) return;
    Bytes bytes(size);
    for (std::uint8_t& byte : bytes) byte = content(connection.sent++, 2);
    Slice slice = pool_.copy(bytes);
    if (slice.empty()) throw Violation("a connector's pool is used up");
    core_.flows().handle_target_bytes(fabric_.time.now(), flow, std::move(slice));
    if (!connections_.contains(flow)) return;
  }
  if (connection.peer_finished && !std::exchange(connection.finished, true)) {
    core_.flows().handle_target_finished(fabric_.time.now(), flow);
  }
}

void Targets::end(connector::FlowId flow) {
  const auto found = connections_.find(flow);
  if (found == connections_.end()) return;
  const std::uint16_t port = found->second.port;
  connections_.erase(found);
  events_.ended(port);
}

}  // namespace postern::sim
