// The client's core as its outside sees it: any message of a controller, any packet of the TUN, any datagram that comes
// from the relay's address or another one, in any order, with time passing.
//
// Holds: whatever is said, the client goes on: it answers DNS, every packet that it writes to the TUN is right, every
// datagram goes to a relay that the controller has named, its status can always be asked for, it never wants to be
// woken in the past for ever; Online is never said without a lease or a relay that has proven itself.
#include <gnutls/gnutls.h>

#include <ctime>

#include "client_core/client.hpp"
#include "fuzz.hpp"
#include "gtest_checks.hpp"
#include "identity/keys.hpp"
#include "session/pair_test_util.hpp"
#include "tcp/packet_test_util.hpp"
#include "wire/stun.hpp"

namespace {

using namespace postern;
using namespace postern::client;
using namespace std::chrono_literals;
using fuzz::Choices;

std::time_t fixed_time(std::time_t* to) {
  constexpr std::time_t kNow = 1'700'000'000;
  if (to != nullptr) *to = kNow;
  return kNow;
}

const session::Credentials& credentials() {
  static const session::Credentials made = [] {
    gnutls_global_set_time_function(fixed_time);
    return session::test::make_credentials();
  }();
  return made;
}

const SocketAddress kRelay{IpAddress::v4(198, 51, 100, 1), 443};
constexpr std::array<std::uint8_t, 32> kMacKey = {1, 2, 3};

wire::ControllerMessage welcome() {
  wire::ControllerMessage message;
  auto& welcome = *message.mutable_welcome();
  welcome.set_network("home");
  welcome.set_server_time_ms(1'700'000'000'000);
  welcome.set_route_id("1234567");
  auto* relay = welcome.add_relays();
  relay->set_name("relay-1");
  relay->add_addresses(kRelay.to_string());
  relay->set_epoch(1);
  relay->set_access_token("ticket");
  relay->set_mac_key(std::string(as_text(kMacKey)));
  return message;
}

wire::ControllerMessage update() {
  wire::ControllerMessage message;
  auto& update = *message.mutable_client_update();
  update.set_full(true);
  update.set_version(1);
  std::uint64_t id = 0;
  for (const char* address : {"nginx.home.lan", "192.168.1.0/24", "*.lab"}) {
    auto* resource = update.add_resources();
    resource->set_id(++id);
    resource->set_name(address);
    resource->set_remote_network_id(7);
    resource->set_address(address);
    resource->mutable_tcp()->set_policy(wire::PORT_POLICY_ALLOW_ALL);
  }
  auto* lease = update.add_leases();
  lease->set_remote_network_id(7);
  lease->set_lease("lease");
  lease->set_expires_at_ms(1'700'000'000'000 + 3'600'000);
  auto* instance = update.add_instances();
  instance->set_instance_id(1);
  instance->set_remote_network_id(7);
  instance->set_route_id("7654321");
  instance->set_certificate_digest(std::string(32, 'd'));
  instance->set_knock(std::string(81, 'k'));
  instance->add_relays("relay-1");
  return message;
}

class World {
 public:
  World() : buffer_(pool_.acquire(BlockClass::Large)) {
    ClientConfig config;
    config.credentials = credentials();
    config.device = *session::credentials_digest(credentials());
    config.software = "fuzz";
    config.server_host = "postern.example.org";
    config.network = {*IpPrefix::parse("100.96.0.0/12"), *IpPrefix::parse("fd00:1::/64")};
    client_ = std::make_unique<Client>(std::move(config), pool_, random_);
  }

  void step(Choices& choices) {
    switch (choices.below(16)) {
      case 0: {
        wire::ControllerMessage message;
        const ByteView bytes = choices.block();
        if (message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) control(message);
        break;
      }
      case 1:
        client_->handle_control_up(now_);
        control(welcome());
        break;
      case 2:
        control(update());
        break;
      case 3:
        change(choices);
        break;
      case 4:
        client_->handle_control_down(now_, "gone");
        break;
      case 5:
        packet(choices.take(wire::VnetHeader::kSize), choices.block());
        break;
      case 6:
      case 7:
        syn(choices);
        break;
      case 8:
        dns(choices);
        break;
      case 9:
        echo_or_udp(choices);
        break;
      case 10: {
        Bytes bytes = to_bytes(choices.block());
        client_->handle_train(now_, choices.flag() ? kRelay : SocketAddress{IpAddress::v4(9, 9, 9, 9), 443}, bytes,
                              choices.u16(), choices.u8() % 4);
        break;
      }
      case 11:
        answer_bind(choices.u8());
        break;
      case 12:
        client_->handle_network_change(now_);
        break;
      case 13:
        pass(std::chrono::milliseconds(choices.u16()));
        break;
      case 14:
        pass(std::chrono::seconds(choices.u16()));
        break;
      default:
        pass_to_timer();
    }
    settle();
  }
  void finish() {
    client_->close(now_);
    settle();
    for (int i = 0; i < 50; ++i) {
      pass_to_timer();
      settle();
    }
    client_.reset();
    FUZZ_CHECK(pool_.bytes_in_use() <= BlockPool::kLargeSize + BlockPool::kSmallSize);
  }

 private:
  void control(const wire::ControllerMessage& message) { client_->handle_control_message(now_, message); }
  void change(Choices& choices) {
    wire::ControllerMessage message;
    auto& update = *message.mutable_client_update();
    update.set_from_version(client_->known_version());
    update.set_version(client_->known_version() + 1);
    const std::uint8_t how = choices.u8();
    if ((how & 1) != 0) update.add_removed_resources(1 + choices.below(4));
    if ((how & 2) != 0) update.add_removed_leases(7);
    if ((how & 4) != 0) update.add_removed_instances(1);
    if ((how & 8) != 0) {
      auto* resource = update.add_resources();
      resource->set_id(1 + choices.below(5));
      resource->set_remote_network_id(7);
      resource->set_address(std::string(as_text(choices.take(choices.below(32)))));
    }
    if ((how & 16) != 0) {
      auto* lease = update.add_leases();
      lease->set_remote_network_id(7);
      lease->set_lease("next");
      lease->set_expires_at_ms(1'700'000'000'000 + 1000 * std::int64_t{choices.u32()});
    }
    control(message);
  }
  void packet(ByteView vnet, ByteView bytes) {
    Bytes header(wire::VnetHeader::kSize, 0);
    std::ranges::copy(vnet, header.begin());
    if (bytes.size() > 60'000) bytes = bytes.first(60'000);
    client_->handle_tun_packet(now_, header, tcp::test::in_block(pool_, bytes));
  }
  IpAddress target(Choices& choices) {
    switch (choices.below(5)) {
      case 0:
        return IpAddress::v4(192, 168, 1, 20);
      case 1:
        return IpAddress::v4(100, 96, 0, 2);
      case 2:
        return *IpAddress::parse("fd00:1::2");
      case 3:
        return last_address_;
      default:
        return IpAddress::v4(100, 96, 0, choices.u8());
    }
  }
  [[nodiscard]] static IpAddress own(const IpAddress& towards) {
    return towards.is_v4() ? IpAddress::v4(100, 96, 0, 1) : *IpAddress::parse("fd00:1::1");
  }
  void syn(Choices& choices) {
    const IpAddress to = target(choices);
    const tcp::FlowTuple tuple{{own(to), static_cast<std::uint16_t>(40000 + choices.below(4))},
                               {to, choices.flag() ? std::uint16_t{80} : std::uint16_t{53}}};
    tcp::test::KernelSegment segment;
    segment.flags = choices.flag() ? tcp::test::kSyn : choices.u8();
    segment.sequence = 1000U + choices.u8() % 3U;
    segment.acknowledgment = last_sequence_ + 1;
    if ((segment.flags & tcp::test::kSyn) == 0) segment.payload = to_bytes(choices.take(choices.u8()));
    const auto made = tcp::test::make_packet(tuple, segment);
    packet(made.vnet, made.bytes);
  }
  void dns(Choices& choices) {
    constexpr std::array kNames = {"nginx.home.lan", "x.lab", "example.org", "postern.example.org"};
    const Bytes question = choices.below(8) == 7
                               ? to_bytes(choices.block())
                               : *wire::build_dns_question(9, kNames[choices.below(4)],
                                                           choices.flag() ? wire::DnsType::A : wire::DnsType::Aaaa);
    Bytes bytes(question.size() + 100);
    bytes.resize(wire::build_udp(bytes, {own({}), 5353}, {IpAddress::v4(100, 96, 0, 2), 53}, question));
    packet({}, bytes);
  }
  void echo_or_udp(Choices& choices) {
    const IpAddress to = target(choices);
    Bytes bytes(300);
    const ByteView payload = choices.take(choices.below(100));
    bytes.resize(choices.flag() ? wire::build_echo(bytes, {own(to), to, false, 7, 1}, payload)
                                : wire::build_udp(bytes, {own(to), 4000}, {to, choices.u16()}, payload));
    packet({}, bytes);
  }
  void answer_bind(std::uint8_t how) {
    const auto request = wire::StunView::parse(last_bind_);
    if (!request) return;
    Bytes buffer(512);
    if ((how & 1) != 0) {
      wire::StunBuilder builder(buffer, wire::StunType::BindError, request->transaction());
      builder.add_error((how & 2) != 0 ? 403 : 401, "no");
      builder.add(wire::StunAttribute::Nonce, Bytes(wire::kBindNonceSize, 7));
      Bytes answer = to_bytes(builder.finish());
      return client_->handle_train(now_, kRelay, answer, answer.size(), 0);
    }
    wire::StunBuilder builder(buffer, wire::StunType::BindSuccess, request->transaction());
    builder.add_mapped_address({IpAddress::v4(203, 0, 113, 20), 4711});
    builder.add_u32(wire::StunAttribute::Lifetime, 600);
    Bytes answer = to_bytes(builder.finish_with_integrity(kMacKey, &identity::hmac_sha256));
    client_->handle_train(now_, kRelay, answer, answer.size(), 0);
  }
  void pass(Duration time) {
    now_ += time;
    if (const auto due = client_->next_timeout(); due && *due <= now_) client_->handle_timeout(now_);
  }
  void pass_to_timer() {
    const auto due = client_->next_timeout();
    pass(due ? std::clamp<Duration>(*due - now_, 1us, 1h) : Duration(1s));
  }
  void settle() {
    client_->settle(now_);
    for (int i = 0; client_->poll_tun(now_, packet_); ++i) {
      FUZZ_CHECK(i < 10'000);
      check(tcp::test::inspect(packet_));
    }
    packet_ = {};
    const std::vector<IpAddress> relays = client_->relay_addresses();
    for (int i = 0;; ++i) {
      const auto train = client_->poll_transmit(now_, buffer_.bytes());
      if (!train) break;
      FUZZ_CHECK(i < 1000 && train->stride > 0 && !train->bytes.empty());
      FUZZ_CHECK(std::ranges::find(relays, train->path.remote.ip) != relays.end());
      if (train->bytes[0] < 4) last_bind_ = to_bytes(train->bytes);
    }
    while (client_->poll_output()) {
    }
    while (client_->forwarder().poll_query()) {
    }
    while (client_->forwarder().poll_done()) {
    }
    const ClientStatus status = client_->status(now_);
    FUZZ_CHECK(status.state == client_->state(now_));
    FUZZ_CHECK(status.state != ClientState::Online || (status.relay && status.relay->bound));
    for (const IpPrefix& route : client_->wanted_routes()) FUZZ_CHECK(IpPrefix::parse(route.to_string()) == route);
  }
  void check(const tcp::test::Seen& seen) {
    if ((seen.flags & tcp::test::kSyn) != 0) last_sequence_ = seen.sequence;
    if (seen.protocol != 17) return;
    const auto message =
        wire::parse_dns_message(wire::UdpView::parse(wire::IpView::parse(seen.packet)->payload)->payload);
    if (!message) return;
    for (const IpAddress& address : wire::addresses_of(*message)) last_address_ = address;
  }

  SeededRandom random_{1};
  BlockPool pool_{64U << 20};
  Buffer buffer_;
  std::unique_ptr<Client> client_;
  Instant now_{1h};
  tcp::Packet packet_;
  Bytes last_bind_;
  IpAddress last_address_ = IpAddress::v4(100, 96, 0, 16);
  std::uint32_t last_sequence_ = 0;
};

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  // Welcome, what there is, 401, success: online. Then a name, a connection to it, time.
  const Bytes up = {1, 2, 11, 1, 11, 0};
  Script name;
  name.raw(up).raw(Bytes{8, 0, 0, 1, 6, 3, 0, 1, 1, 0, 13, 1, 0, 15, 15, 13, 4, 0, 14, 0, 30, 15, 15});
  Script tcp_dns;
  tcp_dns.raw(up).raw(Bytes{6, 1, 0, 0, 1, 0, 6, 1, 0, 0, 0, 16, 1, 0, 9, 0, 10, 1, 9, 0, 10, 0, 0, 53});
  Script changes;
  changes.raw(up).raw(
      Bytes{6, 0, 0, 1, 1, 0, 3, 1, 2, 3, 2, 15, 3, 16, 0, 0, 0, 9, 14, 0, 20, 4, 14, 0, 60, 1, 11, 1, 11, 0, 12, 15});
  const auto said = [](const wire::ControllerMessage& message) {
    return Script().u8(0).block(message.SerializeAsString()).bytes();
  };
  wire::ControllerMessage up_again;
  *up_again.mutable_relay_up()->mutable_relay() = welcome().welcome().relays(0);
  wire::ControllerMessage reply;
  reply.mutable_heartbeat_reply()->set_server_time_ms(1'700'000'001'000);
  wire::ControllerMessage far;
  far.mutable_heartbeat_reply()->set_server_time_ms(INT64_MAX);
  wire::ControllerMessage past = welcome();
  past.mutable_welcome()->set_server_time_ms(INT64_MIN);
  wire::ControllerMessage eternal = update();
  eternal.mutable_client_update()->mutable_leases(0)->set_expires_at_ms(INT64_MAX);
  Script clocks;
  clocks.raw(said(far))
      .raw(up)
      .raw(said(past))
      .raw(said(eternal))
      .raw(Bytes{11, 1, 11, 0, 14, 1, 0})
      .raw(said(far))
      .u8(15);
  Script raw;
  raw.raw(said(welcome())).raw(said(update())).raw(said(up_again)).raw(said(reply)).raw(Bytes{15, 11, 0, 15});
  return {name.bytes(), tcp_dns.bytes(), changes.bytes(), clocks.bytes(), raw.bytes()};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  postern::fuzz::expectations_abort();
  Choices choices({data, size});
  World world;
  for (int i = 0; i < 150 && !choices.empty(); ++i) world.step(choices);
  world.finish();
  return 0;
}
