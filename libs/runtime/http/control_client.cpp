// The thread of an agent's control channel: connect, answer the Challenge, hand messages over, and again.
//
// Events cross to the owner's loop in order. When its mailbox is full they wait here, and the WebSocket is paused until
// they are gone: the server feels it as back pressure, and nothing is lost in between.
#include "runtime/http/control_client.hpp"

#include <algorithm>
#include <atomic>
#include <deque>
#include <thread>
#include <utility>

#include "base/random.hpp"
#include "runtime/http/https_request.hpp"
#include "runtime/http/io_loop.hpp"
#include "runtime/http/websocket.hpp"

namespace postern::runtime {
namespace {

constexpr std::chrono::milliseconds kRetryFirst{200};
/// Whoever waits for a private service waits for this: so it is short while somebody may just be repairing the server,
/// and longer after about ten minutes.
constexpr std::chrono::milliseconds kRetryMax{10'000};
constexpr std::chrono::milliseconds kRetryMaxLong{30'000};
constexpr unsigned kLongOutage = 120;  ///< failures in a row
/// A place that is taken (409) is free after 10 s of silence at the earliest.
constexpr std::chrono::milliseconds kRetryTaken{10'000};
/// A connection that lived this long was a good one: the next retry starts from the beginning.
constexpr std::chrono::seconds kProvenAfter{10};
constexpr std::chrono::seconds kConnectMax{15};
/// From the WebSocket's opening to Welcome or Denied.
constexpr std::chrono::seconds kAuthenticateMax{15};
constexpr std::chrono::milliseconds kDeliverAgain{20};
/// For the close frame when the owner stops.
constexpr std::chrono::milliseconds kGoodbyeMax{200};
constexpr std::size_t kSendQueueMax = 256;

std::string_view role_word(wire::AgentRole role) {
  switch (role) {
    case wire::AGENT_ROLE_CLIENT:
      return "client";
    case wire::AGENT_ROLE_CONNECTOR:
      return "connector";
    case wire::AGENT_ROLE_RELAY:
      return "relay";
    default:
      return "";
  }
}

bool is_final(std::uint32_t code) {
  return code == 401 || code == 410;
}

/// Shared with the tasks in the owner's loop; `alive` is touched on that loop's thread only.
struct Delivery {
  ControlClient::Handler handler;
  bool alive = true;
};

}  // namespace

class ControlClient::Impl {
 public:
  Impl(ControlConfig config, EventLoop& owner, Handler handler)
      : config_(std::move(config)),
        owner_(owner),
        delivery_(std::make_shared<Delivery>()),
        jitter_(static_cast<std::uint64_t>(monotonic_now().time_since_epoch().count()) ^
                reinterpret_cast<std::uintptr_t>(this)) {
    delivery_->handler = std::move(handler);
  }
  ~Impl() { stop(); }

  void start() {
    if (thread_.joinable()) return;
    thread_ = std::thread([this] {
      attempt();
      loop_.run();
    });
  }

  void stop() {
    delivery_->alive = false;
    if (!thread_.joinable()) return;
    loop_.post([this] {
      stopping_ = true;
      retry_.cancel();
      connect_ = nullptr;
      if (!socket_) return loop_.stop();
      linger_.start(kGoodbyeMax, [this] { loop_.stop(); });
      socket_->close();
    });
    thread_.join();
  }

  void send(const wire::AgentMessage& message) {
    if (!up_ || sending_ >= kSendQueueMax) return;
    ++sending_;
    loop_.post([this, bytes = encode(message)]() mutable {
      --sending_;
      if (socket_ && welcomed_) socket_->send(std::move(bytes));
    });
  }

  void set_known_version(std::uint64_t version) { known_version_ = version; }

  void set_addresses(std::vector<std::string> addresses) {
    loop_.post(
        [this, addresses = std::move(addresses)]() mutable { config_.server.fixed_addresses = std::move(addresses); });
  }

  void reconnect_now() {
    loop_.post([this] {
      if (!waiting_) return;
      failures_ = 0;
      attempt();
    });
  }

 private:
  static Bytes encode(const wire::AgentMessage& message) {
    Bytes bytes(message.ByteSizeLong());
    message.SerializeToArray(bytes.data(), static_cast<int>(bytes.size()));
    return bytes;
  }

  void attempt() {
    waiting_ = false;
    retry_.cancel();
    connect_ = std::make_unique<TlsConnect>(loop_, config_.server, config_.trust, kConnectMax, [this](auto connected) {
      if (connected) return open(std::move(*connected));
      const bool trusted = connected.error().kind != ConnectError::Kind::NotTrusted;
      down({.failure = trusted ? ControlFailure::Unreachable : ControlFailure::PinMismatch,
            .reason = connected.error().message});
    });
  }

  void open(std::shared_ptr<ByteStream> stream) {
    welcomed_ = false;
    authenticate_.start(kAuthenticateMax, [this] { lost("the server did not let this agent in in time"); });
    socket_ = WebSocket::connect(loop_, std::move(stream), host_header(config_.server), "/control/v1", {},
                                 {.message = [this](ByteView bytes) { handle(bytes); },
                                  .closed = [this](const std::string& reason) { lost(reason); }});
  }

  void handle(ByteView bytes) {
    wire::ControllerMessage message;
    if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      return lost("the server sent a message that cannot be read");
    }
    switch (message.body_case()) {
      case wire::ControllerMessage::kChallenge:
        return answer(message.challenge());
      case wire::ControllerMessage::kDenied:
        return denied(message.denied());
      case wire::ControllerMessage::kWelcome:
        route_id_ = message.welcome().route_id();
        welcome();
        break;
      case wire::ControllerMessage::BODY_NOT_SET:
        return;  // a newer server: unknown messages are passed over
      default:
        break;
    }
    if (welcomed_) deliver(std::move(message));
  }

  void answer(const wire::Challenge& challenge) {
    if (welcomed_) return lost("the server asked who we are a second time");
    if (!config_.expected_network.empty() && challenge.network() != config_.expected_network) {
      return down({.failure = ControlFailure::WrongNetwork,
                   .reason = "the server belongs to the network \"" + challenge.network() + "\", not to \"" +
                             config_.expected_network + '"',
                   .final = true});
    }
    const Bytes input =
        identity::control_signature_input(as_bytes(challenge.nonce()), challenge.network(), role_word(config_.role));
    wire::AgentMessage reply;
    wire::Authenticate& who = *reply.mutable_authenticate();
    who.set_role(config_.role);
    who.set_public_key(std::string(as_text(config_.key.public_key().spki())));
    who.set_signature(std::string(as_text(config_.key.sign(input))));
    who.set_refresh_token(config_.refresh_token);
    who.set_software(config_.software);
    who.set_hostname(config_.hostname);
    for (const auto& [name, value] : config_.labels) (*who.mutable_labels())[name] = value;
    who.set_known_version(known_version_);
    who.set_route_id(route_id_);
    socket_->send(encode(reply));
  }

  void welcome() {
    if (std::exchange(welcomed_, true)) return;
    authenticate_.cancel();
    proven_.start(kProvenAfter, [this] { failures_ = 0; });
    up_ = true;
    deliver(ControlUp{});
  }

  void denied(const wire::Denied& denied) {
    down({.failure = ControlFailure::Denied,
          .code = denied.code(),
          .reason = denied.reason(),
          .final = is_final(denied.code())});
  }

  void lost(const std::string& reason) {
    down({.failure = ControlFailure::Closed,
          .reason = "the control channel to " + config_.server.host + " ended: " + reason});
  }

  void down(ControlDown event) {
    if (stopping_) return loop_.stop();
    up_ = false;
    welcomed_ = false;
    authenticate_.cancel();
    proven_.cancel();
    if (socket_) {
      socket_->forget();
      event.failure == ControlFailure::Closed ? socket_->abort() : socket_->close();
      socket_ = nullptr;
    }
    const ControlFailure failure = event.failure;
    const bool taken = event.code == 409;
    const bool final = event.final;
    deliver(std::move(event));
    if (final) return;
    // A server that is not the promised one does not change in seconds, and each attempt shows it who asks.
    if (failure == ControlFailure::PinMismatch) return retry_slowly(kRetryMaxLong);
    if (!taken) return retry();
    retry_slowly(kRetryTaken);
    waiting_ = false;  // a network that changes frees no place
  }

  void retry() {
    const auto bound = failures_ < kLongOutage ? kRetryMax : kRetryMaxLong;
    const auto longest = std::min(bound, kRetryFirst * (1 << std::min(failures_, 8U)));
    ++failures_;
    waiting_ = true;
    retry_.start(draw(longest), [this] { attempt(); });
  }

  /// Between half of `about` and all of it.
  void retry_slowly(std::chrono::milliseconds about) {
    ++failures_;
    waiting_ = true;
    retry_.start(about / 2 + draw(about / 2), [this] { attempt(); });
  }

  std::chrono::milliseconds draw(std::chrono::milliseconds longest) {
    return std::chrono::milliseconds(jitter_.below(static_cast<std::uint64_t>(longest.count()) + 1));
  }

  void deliver(ControlEvent event) {
    waiting_events_.push_back(std::move(event));
    deliver_waiting();
  }

  void deliver_waiting() {
    while (!waiting_events_.empty()) {
      const bool taken = owner_.post([delivery = delivery_, event = waiting_events_.front()]() mutable {
        if (delivery->alive) delivery->handler(std::move(event));
      });
      if (!taken) {
        if (socket_) socket_->pause();
        again_.start(kDeliverAgain, [this] { deliver_waiting(); });
        return;
      }
      waiting_events_.pop_front();
    }
    if (socket_) socket_->resume();
  }

  ControlConfig config_;
  EventLoop& owner_;
  std::shared_ptr<Delivery> delivery_;
  std::atomic<bool> up_ = false;
  std::atomic<std::size_t> sending_ = 0;
  std::atomic<std::uint64_t> known_version_ = 0;
  // From here on: the control thread only.
  SeededRandom jitter_;
  IoLoop loop_;
  Timer retry_{loop_};
  Timer authenticate_{loop_};
  Timer proven_{loop_};
  Timer again_{loop_};
  Timer linger_{loop_};
  std::unique_ptr<TlsConnect> connect_;
  std::shared_ptr<WebSocket> socket_;
  std::deque<ControlEvent> waiting_events_;
  unsigned failures_ = 0;
  bool welcomed_ = false;
  std::string route_id_;  ///< of the last Welcome: sessions outlive the controller by it (PROTOCOL.md §2.1)
  bool waiting_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

ControlClient::ControlClient(ControlConfig config, EventLoop& loop, Handler handler)
    : impl_(std::make_unique<Impl>(std::move(config), loop, std::move(handler))) {}
ControlClient::~ControlClient() = default;
void ControlClient::start() {
  impl_->start();
}
void ControlClient::stop() {
  impl_->stop();
}
void ControlClient::send(const wire::AgentMessage& message) {
  impl_->send(message);
}
void ControlClient::set_known_version(std::uint64_t version) {
  impl_->set_known_version(version);
}
void ControlClient::set_addresses(std::vector<std::string> addresses) {
  impl_->set_addresses(std::move(addresses));
}
void ControlClient::reconnect_now() {
  impl_->reconnect_now();
}

}  // namespace postern::runtime
