#include "tun/probe_server.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

namespace postern::tun_probe {

namespace {

using namespace std::chrono_literals;

constexpr int kReadsPerBatch = 64;
/// The packet begins so that the payload of IPv4 without TCP options is 64-aligned (performance.md §0.1).
constexpr std::size_t kReadOffset = 78;
constexpr std::size_t kVnetSize = 10;
/// Smaller payload is copied, so that it does not pin a block.
constexpr std::size_t kCopyBelow = 2048;

constexpr std::size_t kSlice = 65536;
constexpr std::size_t kPiece = 1372;
constexpr std::size_t kGap = 40;

bool is_source(Service service) {
  return service == Service::Source || service == Service::SourceInPieces;
}

Instant clock_now(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return Instant{std::chrono::seconds{time.tv_sec} + std::chrono::nanoseconds{time.tv_nsec}};
}

tcp::EndpointConfig config() {
  tcp::EndpointConfig config;
  config.mtu = 1500;
  config.isn_key = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  return config;
}

}  // namespace

ProbeServer::ProbeServer(TunDevice device)
    : device_(std::move(device)), stop_fd_(eventfd(0, EFD_CLOEXEC)), endpoint_(config()) {
  make_content();
  thread_ = std::thread([this] { run(); });
}

void ProbeServer::make_content() {
  for (std::size_t at = 0; at < Pattern::kPeriod; at += kSlice) {
    const Buffer block = pool_.acquire(BlockClass::Large);
    std::memcpy(block.bytes().data(), pattern_.at(at).data(), kSlice);
    pattern_slices_.push_back(block.slice(0, kSlice));
  }
  Buffer block;
  std::size_t used = BlockPool::kLargeSize;
  for (std::size_t at = 0; at < Pattern::kPeriod; at += kPiece, used += kPiece + kGap) {
    if (used + kPiece > BlockPool::kLargeSize) {
      block = Buffer();
      block = pool_.acquire(BlockClass::Large);
      used = 0;
    }
    const std::size_t size = std::min(kPiece, Pattern::kPeriod - at);
    std::memcpy(block.bytes().data() + used, pattern_.at(at).data(), size);
    pattern_pieces_.push_back(block.slice(used, size));
  }
}

Slice ProbeServer::content(const Connection& connection, std::uint64_t most) const {
  const auto at = static_cast<std::size_t>(connection.sent % Pattern::kPeriod);
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(connection.to_send - connection.sent, most));
  if (connection.service == Service::Source) return pattern_slices_[at / kSlice].sub(at % kSlice, size);
  return pattern_pieces_[at / kPiece].sub(at % kPiece, size);
}

ProbeServer::~ProbeServer() {
  stopping_ = true;
  const std::uint64_t one = 1;
  static_cast<void>(!::write(stop_fd_, &one, sizeof one));
  thread_.join();
  ::close(stop_fd_);
}

void ProbeServer::run() {
  while (!stopping_) {
    wait();
    now_ = clock_now(CLOCK_BOOTTIME);
    read_batch();
    endpoint_.handle_timeout(now_);
    handle_events();
    run_delayed();
    write_packets();
    publish();
  }
  connections_.clear();
}

void ProbeServer::wait() {
  std::array<pollfd, 2> fds = {pollfd{device_.fd(), POLLIN, 0}, pollfd{stop_fd_, POLLIN, 0}};
  int timeout = delayed_.empty() ? -1 : 10;
  if (const auto next = endpoint_.next_timeout()) {
    const Duration left = std::max<Duration>(*next - clock_now(CLOCK_BOOTTIME), 0ns);
    const int ms = static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(left).count());
    timeout = timeout < 0 ? ms : std::min(timeout, ms);
  }
  ::poll(fds.data(), fds.size(), timeout);
}

void ProbeServer::read_batch() {
  for (int i = 0; i < kReadsPerBatch; ++i) {
    if (!reading_ || !reading_.is_unshared()) reading_ = Buffer();
    if (!reading_) reading_ = pool_.acquire(BlockClass::Large);
    if (!reading_) return;  // at the pool's bound the kernel waits
    const std::size_t size = device_.read(reading_.bytes().subspan(kReadOffset));
    if (size <= kVnetSize) return;
    endpoint_.handle_packet(now_, reading_.bytes().subspan(kReadOffset, kVnetSize),
                            reading_.slice(kReadOffset + kVnetSize, size - kVnetSize));
  }
}

void ProbeServer::handle_events() {
  while (auto event = endpoint_.poll_event()) {
    std::visit([this](auto& what) { handle(what); }, *event);
  }
}

void ProbeServer::handle(const tcp::Incoming& event) {
  const auto service = static_cast<Service>(event.tuple.remote.port);
  Connection connection{service, 0, 0, 0, 0, false, {}};
  switch (service) {
    case Service::RefuseHost:
      return endpoint_.refuse(now_, event.flow, tcp::Refusal::HostUnreachable);
    case Service::RefuseNetwork:
      return endpoint_.refuse(now_, event.flow, tcp::Refusal::NetworkUnreachable);
    case Service::RefuseAdmin:
      return endpoint_.refuse(now_, event.flow, tcp::Refusal::AdminProhibited);
    case Service::SlowAccept:
      connection.act_at = now_ + 2500ms;
      delayed_[event.flow] = connection;
      break;
    case Service::StallThenDiscard:
      connection.act_at = now_ + 700ms;
      delayed_[event.flow] = connection;
      [[fallthrough]];
    case Service::Echo:
    case Service::Discard:
    case Service::DiscardBlindly:
    case Service::ResetOnData:
    case Service::FinishFirst:
    case Service::Source:
    case Service::SourceInPieces:
      endpoint_.accept(now_, event.flow);
      break;
    default:
      return endpoint_.refuse(now_, event.flow, tcp::Refusal::Reset);
  }
  if (service == Service::FinishFirst) {
    connection.is_finished = true;
    endpoint_.finish(now_, event.flow);
  }
  connections_[event.flow] = connection;
}

void ProbeServer::check(Connection& connection, ByteView bytes) {
  if (!pattern_.matches(connection.received, bytes)) mismatches_ += bytes.size();
}

void ProbeServer::handle(tcp::Data& event) {
  const auto found = connections_.find(event.flow);
  if (found == connections_.end()) return;
  Connection& connection = found->second;
  const std::size_t size = event.bytes.size();
  if (connection.service == Service::ResetOnData) {
    endpoint_.abort(now_, event.flow);
    return forget(event.flow);
  }
  if (connection.service == Service::Echo) {
    connection.received += size;
    return echo(event.flow, connection, std::move(event.bytes));
  }
  if (is_source(connection.service)) {
    if (size == 8) connection.to_send = ByteReader(event.bytes.view()).u64();
    endpoint_.grant(event.flow, size);
    return pump_source(event.flow, connection);
  }
  if (connection.service != Service::DiscardBlindly) check(connection, event.bytes.view());
  connection.received += size;
  if (connection.service == Service::StallThenDiscard && delayed_.contains(event.flow)) {
    connection.held += size;
  } else {
    endpoint_.grant(event.flow, size);
  }
}

void ProbeServer::echo(tcp::FlowId flow, Connection& connection, Slice bytes) {
  connection.sent += bytes.size();
  endpoint_.send(now_, flow, bytes.size() < kCopyBelow ? pool_.copy(bytes.view()) : std::move(bytes));
}

void ProbeServer::pump_source(tcp::FlowId flow, Connection& connection) {
  std::size_t room = endpoint_.sendable(flow);
  while (room > 0 && connection.sent < connection.to_send) {
    const Slice slice = content(connection, room);
    endpoint_.send(now_, flow, slice);
    connection.sent += slice.size();
    room -= slice.size();
  }
  if (connection.sent == connection.to_send && !connection.is_finished) {
    connection.is_finished = true;
    endpoint_.finish(now_, flow);
  }
}

void ProbeServer::handle(const tcp::PeerFinished& event) {
  const auto found = connections_.find(event.flow);
  if (found == connections_.end() || is_source(found->second.service)) return;
  if (!found->second.is_finished) endpoint_.finish(now_, event.flow);
  found->second.is_finished = true;
}

void ProbeServer::handle(const tcp::Acknowledged& event) {
  const auto found = connections_.find(event.flow);
  if (found == connections_.end()) return;
  if (found->second.service == Service::Echo) endpoint_.grant(event.flow, event.bytes);
  if (is_source(found->second.service)) pump_source(event.flow, found->second);
  if (const auto stats = endpoint_.stats(event.flow)) {
    if (stats->retransmissions > retransmissions_) retransmissions_ = stats->retransmissions;
  }
}

void ProbeServer::forget(tcp::FlowId flow) {
  connections_.erase(flow);
  delayed_.erase(flow);
}

void ProbeServer::run_delayed() {
  for (auto entry = delayed_.begin(); entry != delayed_.end();) {
    if (entry->second.act_at > now_) {
      ++entry;
      continue;
    }
    const tcp::FlowId flow = entry->first;
    if (entry->second.service == Service::SlowAccept) {
      endpoint_.accept(now_, flow);
    } else {
      endpoint_.grant(flow, std::exchange(connections_[flow].held, 0));
    }
    entry = delayed_.erase(entry);
  }
}

void ProbeServer::write_packets() {
  while (endpoint_.poll_packet(now_, packet_)) {
    if (!device_.write(packet_)) ++write_failures_;
  }
}

void ProbeServer::publish() {
  flows_ = endpoint_.flows();
  for (std::size_t i = 0; i < drops_.size(); ++i) drops_[i] = endpoint_.drops()[i];
  cpu_ns_ = to_nanoseconds(clock_now(CLOCK_THREAD_CPUTIME_ID));
}

}  // namespace postern::tun_probe
