// The connector's core: updates from a controller, sessions of clients that say anything on any stream, and targets
// that answer, fail, stall and reset.
//
// Holds: an update is applied whole or not at all; no credit is given back for bytes that were never read; a target
// gets exactly the bytes that followed the head of its stream, a client exactly those that its target sent, up to a
// reset; only addresses inside the named Resource are asked for; what is open is bounded and ends with its session;
// every flow that was reported as opened is reported as closed.
#include <map>

#include "connector_core/core_test_util.hpp"
#include "fuzz.hpp"
#include "gtest_checks.hpp"
#include "wire/dns_records.hpp"

namespace {

using namespace postern;
using namespace postern::connector;
using fuzz::Choices;
namespace ct = postern::connector::testing;

/// What the script knows of a flow whose target was asked for.
struct Target {
  std::optional<SocketAddress> connecting{};
  bool connected = false;
  bool datagrams = false;
  bool gone = false;       ///< closed, given up, or never to be
  std::uint64_t read = 0;  ///< bytes that the target got
};

class World {
 public:
  World() { bench_.event(session::StreamWritable{session::SessionId(0), session::StreamId(0)}); }

  void step(Choices& choices) {
    switch (choices.below(14)) {
      case 0:
        return update(choices);
      case 1:
        return change(choices);
      case 2:
        if (sessions_.size() < 4) sessions_.push_back(choices.flag() ? bench_.open_session() : bench_.establish());
        return drain();
      case 3:
        return with_session(choices, [&](session::SessionId id) {
          bench_.event(session::StreamOpened{id, session::kControlStream});
          bench_.send(id, session::kControlStream, choices.block());
        });
      case 4:
        return with_session(choices, [&](session::SessionId id) { lease(id, choices.u8()); });
      case 5:
      case 6:
        return with_session(choices, [&](session::SessionId id) { open(id, choices); });
      case 7:
        return with_stream(choices, [&](auto id, auto stream) { bench_.send(id, stream, choices.block()); });
      case 8:
        return with_stream(choices, [&](auto id, auto stream) {
          if (choices.flag()) return bench_.finish(id, stream);
          bench_.event(session::StreamReset{id, stream, choices.u8()});
        });
      case 9:
      case 10:
        return target(choices);
      case 11:
        return with_stream(choices, [&](auto id, auto stream) {
          const std::uint16_t size = choices.u16();
          bench_.port.streams[{id, stream}].writable = size;
          // Datagrams for the same stream, whatever it is.
          bench_.port.arrived[id].push_back({stream, bench_.pool.copy(Bytes(size % 500, 3)), 1U + size % 90});
          bench_.event(session::DatagramsReadable{id});
          bench_.event(session::StreamWritable{id, stream});
        });
      case 12:
        bench_.advance(std::chrono::milliseconds(choices.u16()));
        if (choices.below(32) == 31) {
          bench_.core.handle_network_time(bench_.now, from_unix_ms(static_cast<std::int64_t>(choices.u64())));
        }
        return drain();
      default:
        return with_session(choices, [&](session::SessionId id) {
          if (choices.u8() < 200) return;
          bench_.event(session::Closed{id, session::CloseReason::PeerClose, 0, ""});
          std::erase(sessions_, id);
        });
    }
  }
  void finish() {
    for (const session::SessionId id : sessions_) {
      bench_.event(session::Closed{id, session::CloseReason::IdleTimeout, 0, ""});
    }
    drain();
    FUZZ_CHECK(bench_.core.flows().size() == 0 && bench_.core.sessions().size() == 0);
    FUZZ_CHECK(opened_ == closed_);
    FUZZ_CHECK(bench_.port.overconsumed == 0);
    for (const auto& [flow, target] : targets_) FUZZ_CHECK(target.gone || (!target.connected && !target.connecting));
  }

 private:
  template <typename Act>
  void with_session(Choices& choices, Act act) {
    if (sessions_.empty()) return;
    act(sessions_[choices.below(sessions_.size())]);
    drain();
  }
  template <typename Act>
  void with_stream(Choices& choices, Act act) {
    if (streams_.empty()) return;
    const auto [session, stream] = streams_[choices.below(streams_.size())];
    act(session, stream);
    drain();
  }
  void update(Choices& choices) {
    wire::ConnectorUpdate message;
    const ByteView bytes = choices.block();
    if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
    apply(message);
  }
  void apply(const wire::ConnectorUpdate& message) {
    const std::uint64_t version = bench_.core.policy().version();
    const auto outcome = bench_.core.handle_update(bench_.now, message);
    const bool applied = outcome == UpdateOutcome::Applied;
    FUZZ_CHECK(bench_.core.policy().version() == (applied ? message.version() : version));
    FUZZ_CHECK(applied || !message.full());
    bench_.event(session::StreamWritable{session::SessionId(0), session::StreamId(0)});
    drain();
  }
  void change(Choices& choices) {
    wire::ConnectorUpdate message = bench_.delta();
    const std::uint8_t how = choices.u8();
    if ((how & 1) != 0) message.add_removed_resources(1 + choices.below(4));
    if ((how & 2) != 0) {
      *message.add_resources() =
          ct::Bench::resource(1 + choices.below(6), std::string(as_text(choices.take(choices.u8()))));
      message.mutable_resources(0)->set_allow_icmp((how & 16) != 0);
      if ((how & 32) != 0) message.mutable_resources(0)->mutable_udp()->set_policy(wire::PORT_POLICY_ALLOW_ALL);
    }
    if ((how & 4) != 0) {
      auto* revocation = message.add_revocations();
      (how & 8) != 0 ? revocation->set_user_id(ct::kUser) : revocation->set_device_id(ct::kDevice);
      revocation->set_min_pv(choices.u8());
      revocation->set_resource_id(choices.u8() % 5);
      revocation->set_expires_at_ms(to_unix_ms(bench_.core.network_time(bench_.now)) + 1000 * choices.u16());
    }
    apply(message);
  }
  void lease(session::SessionId id, std::uint8_t how) {
    identity::Lease lease = bench_.lease();
    if ((how & 1) != 0) lease.resources.resize(how % 5U);
    if ((how & 2) != 0) lease.expires_at = bench_.unix_now() + how;
    if ((how & 4) != 0) lease.remote_network_id = 99;
    wire::SessionMessage message;
    message.mutable_lease()->set_lease(identity::sign_lease(lease, bench_.network_key));
    bench_.control(id, message);
  }
  void open(session::SessionId id, Choices& choices) {
    if (streams_.size() >= 40) return;
    const session::StreamId stream(next_stream_ += 4);
    streams_.emplace_back(id, stream);
    bench_.event(session::StreamOpened{id, stream});
    const std::uint8_t how = choices.u8();
    if (how < 32) return bench_.send(id, stream, choices.block());
    constexpr std::array kTargets = {"gitea.home", "git.internal",    "192.168.1.20", "192.168.1.9", "nas.lab",
                                     "127.0.0.1",  "169.254.169.254", "10.0.0.1",     "::1",         "other.example"};
    if (how >= 192) return bench_.send(id, stream, datagram_head(how, choices));
    bench_.send(id, stream,
                ct::Bench::head(1 + how % 5U, kTargets[choices.below(kTargets.size())], choices.u16() % 5000));
  }
  static Bytes datagram_head(std::uint8_t how, Choices& choices) {
    wire::FlowHead message;
    const std::string address{"\xc0\xa8\x01", 3};
    if (how % 2 == 0) {
      message.mutable_open_icmp()->set_resource_id(1 + how % 5U);
      message.mutable_open_icmp()->set_ip(address + static_cast<char>(choices.u8()));
    } else {
      message.mutable_open_udp()->set_resource_id(1 + how % 5U);
      message.mutable_open_udp()->set_ip(address + static_cast<char>(choices.u8()));
      message.mutable_open_udp()->set_port(choices.u16());
    }
    return wire::frame_message(as_bytes(message.SerializeAsString()));
  }
  void datagram_target(FlowId flow, Choices& choices) {
    Flows& flows = bench_.core.flows();
    const std::uint16_t size = choices.u16();
    if (size % 5 == 0) return flows.handle_target_failure(bench_.now, flow, wire::REFUSAL_HOST_UNREACHABLE);
    flows.handle_target_datagrams(bench_.now, flow, bench_.pool.copy(Bytes(size % 3000, 7)), 1U + size % 100);
  }
  void target(Choices& choices) {
    if (targets_.empty()) return;
    const auto at = std::next(targets_.begin(), static_cast<std::ptrdiff_t>(choices.below(targets_.size())));
    const FlowId flow = at->first;
    Flows& flows = bench_.core.flows();
    if (at->second.gone) return;
    if (at->second.datagrams && at->second.connected) {
      datagram_target(flow, choices);
      return drain();
    }
    switch (choices.below(8)) {
      case 0:
        if (!at->second.connecting) break;
        at->second.gone = true;
        flows.handle_connect_failed(bench_.now, flow, wire::REFUSAL_CONNECTION_REFUSED, "refused");
        break;
      case 1:
        if (!at->second.connecting) break;
        at->second.connected = true;
        flows.handle_connected(bench_.now, flow, *std::exchange(at->second.connecting, {}),
                               std::chrono::microseconds(9));
        break;
      case 2: {
        if (!at->second.connected) break;
        const std::size_t size = std::min<std::size_t>(choices.u16(), flows.read_budget(bench_.now, flow));
        if (size > 0)
          flows.handle_target_bytes(bench_.now, flow, bench_.pool.copy(Bytes(std::min<std::size_t>(size, 4000), 7)));
        break;
      }
      case 3:
        if (at->second.connected) flows.handle_target_finished(bench_.now, flow);
        break;
      case 4:
        if (at->second.connected) flows.handle_target_reset(bench_.now, flow);
        break;
      default: {
        if (!at->second.connected) break;
        std::array<ByteView, 8> pieces{};
        std::size_t size = 0;
        for (std::size_t i = flows.gather(flow, pieces); i > 0; --i) size += pieces[i - 1].size();
        size = std::min<std::size_t>(size, choices.u16());
        if (size == 0) break;
        at->second.read += size;
        flows.handle_written(bench_.now, flow, size);
      }
    }
    bench_.event(session::StreamWritable{session::SessionId(0), session::StreamId(0)});
    drain();
  }
  void drain() {
    while (const auto request = bench_.core.flows().poll_request()) {
      std::visit([this](const auto& wanted) { handle(wanted); }, *request);
    }
    while (const auto report = bench_.core.flows().poll_report()) {
      opened_ += report->kind == FlowReport::Kind::Opened ? 1U : 0U;
      closed_ += report->kind == FlowReport::Kind::Closed ? 1U : 0U;
    }
    while (bench_.core.sessions().poll_notice()) {
    }
    FUZZ_CHECK(bench_.port.overconsumed == 0);
    for (const session::SessionId id : std::vector(sessions_)) {
      if (bench_.port.closed.contains(id)) std::erase(sessions_, id);
    }
  }
  void handle(const ResolveName& wanted) {
    targets_[wanted.flow];
    const std::vector<IpAddress> found = {IpAddress::v4(192, 168, 1, 9), IpAddress::v4(127, 0, 0, 1)};
    if (wanted.name.text().starts_with("nas")) {
      bench_.core.flows().handle_resolved(bench_.now, wanted.flow, std::unexpected(ResolveFailure::NameNotFound));
    } else {
      bench_.core.flows().handle_resolved(bench_.now, wanted.flow, found);
    }
  }
  void handle(const AskNameServer& wanted) {
    targets_[wanted.flow];
    FUZZ_CHECK(wire::is_passed_on(wanted.type));
    if (wanted.name.text().starts_with("nas")) {
      bench_.core.flows().handle_answer(bench_.now, wanted.flow, std::unexpected(ResolveFailure::LookupFailed));
    } else {
      bench_.core.flows().handle_answer(bench_.now, wanted.flow, Bytes(wanted.name.text().size()));
    }
  }
  void handle(const ConnectTcp& wanted) {
    FUZZ_CHECK(!wanted.addresses.empty());
    for (const SocketAddress& address : wanted.addresses) {
      // Nothing here names one of these literally but an update of the input.
      FUZZ_CHECK(address.port != 0 && wire_is_allowed(address.ip));
    }
    Target& target = targets_[wanted.flow];
    FUZZ_CHECK(!target.connected && !target.connecting && !target.gone);
    target.connecting = wanted.addresses.front();
  }
  void handle(const OpenDatagrams& wanted) {
    FUZZ_CHECK(!wanted.addresses.empty() && wanted.protocol != model::Protocol::Tcp);
    for (const SocketAddress& address : wanted.addresses) {
      FUZZ_CHECK((address.port == 0) == (wanted.protocol == model::Protocol::Icmp) && wire_is_allowed(address.ip));
    }
    Target& target = targets_[wanted.flow];
    FUZZ_CHECK(!target.connected && !target.connecting && !target.gone);
    target.connecting = wanted.addresses.front();
    target.datagrams = true;
  }
  void handle(const SendDatagrams& wanted) {
    FUZZ_CHECK(wanted.stride > 0 && targets_.at(wanted.flow).connected && !targets_.at(wanted.flow).gone);
  }
  static bool wire_is_allowed(const IpAddress& address) {
    return address != IpAddress() && address.to_string() != "::";
  }
  void handle(const WriteTarget& wanted) { FUZZ_CHECK(!targets_.at(wanted.flow).gone); }
  void handle(const ResumeTarget& wanted) { FUZZ_CHECK(!targets_.at(wanted.flow).gone); }
  void handle(const FinishTarget& wanted) { FUZZ_CHECK(targets_.at(wanted.flow).connected); }
  void handle(const CloseTarget& wanted) { FUZZ_CHECK(!std::exchange(targets_[wanted.flow].gone, true)); }
  void handle(const AbortTarget& wanted) { targets_[wanted.flow].gone = true; }

  ct::Bench bench_;
  std::vector<session::SessionId> sessions_;
  std::vector<std::pair<session::SessionId, session::StreamId>> streams_;
  std::map<FlowId, Target> targets_;
  std::int64_t next_stream_ = 0;
  std::uint64_t opened_ = 0;
  std::uint64_t closed_ = 0;
};

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  // A session with its lease, a flow to 192.168.1.20:80, bytes both ways, an end from each side.
  Script flow;
  flow.raw(Bytes{2, 1, 5, 0, 41, 2, 0, 80, 9, 0, 1, 7, 0})
      .block("GET /")
      .raw(Bytes{9, 0, 5, 0xff, 0xff, 9, 0, 2, 0, 99, 8, 0, 1, 9, 0, 3});
  Script denied;
  denied.raw(Bytes{2, 1,  5,   0, 41, 6,  0, 80, 5,  0, 41, 5, 0, 80, 6,   0, 40,
                   0, 11, 184, 6, 0,  43, 4, 0,  22, 1, 1,  1, 1, 4,  200, 0});
  Script resolved;
  resolved.raw(Bytes{2, 1, 5, 0, 40, 0, 11, 184, 9, 0, 1, 7, 0})
      .block("hello")
      .raw(Bytes{9, 0, 4, 4, 0, 3, 12, 0x20, 0, 0, 12, 0, 1, 31, 0x7f, 255, 255, 255, 255, 255, 255, 255, 13, 0, 255});
  wire::ConnectorUpdate update;
  update.set_full(true);
  update.set_version(11);
  *update.add_resources() = ct::Bench::resource(2, "192.168.1.0/24");
  Script updated;
  updated.raw(Bytes{2, 1, 5, 0, 41, 2, 0, 80}).u8(0).block(update.SerializeAsString());
  wire::SessionMessage ping;
  ping.mutable_ping()->set_number(7);
  updated.u8(3).u8(0).block(wire::frame_message(as_bytes(ping.SerializeAsString())));
  return {flow.bytes(), denied.bytes(), resolved.bytes(), updated.bytes()};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  postern::fuzz::expectations_abort();
  Choices choices({data, size});
  World world;
  for (int i = 0; i < 200 && !choices.empty(); ++i) world.step(choices);
  world.finish();
  return 0;
}
