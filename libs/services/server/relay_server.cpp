#include "services/server/relay_server.hpp"

#include <unistd.h>

#include <array>
#include <csignal>
#include <thread>

#include "config/version.hpp"
#include "runtime/http/control_client.hpp"
#include "runtime/http/tls_context.hpp"
#include "runtime/loop/signals.hpp"
#include "runtime/os/limits.hpp"
#include "runtime/os/log.hpp"
#include "runtime/os/random.hpp"
#include "services/server/link_front.hpp"
#include "services/server/relay_port.hpp"
#include "services/server/relay_state.hpp"

namespace postern::server {
namespace {

using config::ExitCode;

constexpr Duration kReportEvery = std::chrono::seconds(10);
/// A HeartbeatReply that took longer says nothing about the time.
constexpr Duration kRoundTripMax = std::chrono::minutes(1);

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

/// Takes TLS connections on a thread of its own, and hands over those that were upgraded.
class FrontThread {
 public:
  FrontThread(const SocketAddress& listen, const identity::PrivateKey& key, LinkFront::Accept accept)
      : http_(loop_, {.tls = {.listen = listen,
                              .certificate_pem = runtime::certificate_to_pem(
                                  identity::self_signed_certificate(key, runtime::wall_now())),
                              .private_key_pem = key.to_pem()}}),
        front_(http_, std::move(accept)) {}
  ~FrontThread() {
    if (!thread_.joinable()) return;
    loop_.post([this] {
      http_.stop();
      loop_.stop();
    });
    thread_.join();
  }

  std::expected<void, runtime::ListenError> start() {
    if (auto started = http_.start(); !started) return started;
    thread_ = std::thread([this] { loop_.run(); });
    return {};
  }

 private:
  runtime::IoLoop loop_;
  runtime::HttpServer http_;
  LinkFront front_;
  std::thread thread_;
};

class RelayServer final : public runtime::TurnParticipant {
 public:
  using Reread = std::function<std::expected<ServeOptions, ServerError>()>;

  RelayServer(const ServeOptions& options, const Reread& reread, RelayState state)
      : options_(options),
        reread_(reread),
        state_(std::move(state)),
        log_("relay", {.level = *runtime::parse_log_level(options.log_level)}),
        signals_(loop_, {SIGTERM, SIGINT, SIGHUP}, [this](int number) { number == SIGHUP ? reload() : loop_.stop(); }) {
  }
  ~RelayServer() override = default;

  std::expected<void, ServerError> run() {
    auto port = RelayPort::open(loop_, options_.listen);
    if (!port) return std::unexpected(port.error());
    port_ = std::move(*port);
    if (state_.membership()) serve(*state_.membership());
    if (auto started = start_front(); !started) return started;
    port_->attach();
    loop_.add_participant(*this);
    start_control();
    loop_.run();
    control_->stop();
    front_.reset();
    loop_.remove_participant(*this);
    port_->detach();
    if (failure_) return std::unexpected(*failure_);
    log_.info("The relay has stopped");
    return {};
  }

  void end_turn(Instant now) override {
    if (report_at_ && now >= *report_at_) report(now);
  }
  [[nodiscard]] std::optional<Instant> next_timeout() const override { return report_at_; }

 private:
  std::expected<void, ServerError> start_front() {
    front_ = std::make_unique<FrontThread>(
        options_.listen, state_.key(), [this](runtime::LinkSocket::Connection connection, const std::string& key) {
          auto shared = std::make_shared<runtime::LinkSocket::Connection>(std::move(connection));
          (void)loop_.post([this, shared, key] { port_->accept_link(std::move(*shared), key); });
        });
    const auto started = front_->start();
    if (started) return {};
    const bool in_use = started.error().kind == runtime::ListenError::Kind::AddressInUse;
    const bool refused = started.error().kind == runtime::ListenError::Kind::NotPermitted;
    return std::unexpected(ServerError{in_use    ? ExitCode::AddressInUse
                                       : refused ? ExitCode::NotPermitted
                                                 : ExitCode::Failure,
                                       started.error().message});
  }

  void start_control() {
    runtime::ControlConfig config;
    config.server = options_.controller->server;
    config.trust = options_.controller->trust;
    config.role = wire::AGENT_ROLE_RELAY;
    config.key = state_.key();
    if (state_.membership()) config.expected_network = state_.membership()->network;
    config.refresh_token = options_.relay_token;
    config.software = "postern-server/" + std::string(config::version()) + " linux";
    config.hostname = host_name();
    control_ = std::make_unique<runtime::ControlClient>(std::move(config), loop_,
                                                        [this](const runtime::ControlEvent& event) { handle(event); });
    control_->start();
  }

  void handle(const runtime::ControlEvent& event) {
    if (const auto* down = std::get_if<runtime::ControlDown>(&event)) return handle_down(*down);
    const auto* message = std::get_if<wire::ControllerMessage>(&event);
    if (message == nullptr) return;
    if (message->has_welcome()) return handle_welcome(message->welcome());
    if (message->has_relay_update()) return handle_update(message->relay_update());
    if (!message->has_heartbeat_reply()) return;
    const Duration round_trip = loop_.now() - from_nanoseconds(message->heartbeat_reply().sent_at());
    if (round_trip < Duration::zero() || round_trip > kRoundTripMax) return;
    take_time(message->heartbeat_reply().server_time_ms(), round_trip / 2);
  }

  void handle_down(const runtime::ControlDown& down) {
    report_at_.reset();
    if (down.failure == runtime::ControlFailure::Denied && down.final) {
      state_.forget();
      return fail(ExitCode::TokensRevoked, "the controller lets this relay in no more: " + down.reason);
    }
    if (down.failure == runtime::ControlFailure::WrongNetwork) {
      return fail(ExitCode::WrongNetwork, down.reason + "; correct --controller, or use another --state folder");
    }
    if (down.failure == runtime::ControlFailure::PinMismatch && !ever_welcomed_) {
      return fail(ExitCode::ServerNotTrusted, down.reason + "; copy the controller's enrolment URL again");
    }
    if (std::exchange(reached_, false) || down.reason != last_problem_) {
      log_.warn(port_->has_begun() ? "The controller is not reached; who has a ticket is served on"
                                   : "The controller is not reached yet",
                {{"reason", down.reason}});
    }
    last_problem_ = down.reason;
  }

  void handle_welcome(const wire::Welcome& welcome) {
    ever_welcomed_ = true;
    reached_ = true;
    last_problem_.clear();
    network_ = welcome.network();
    name_ = welcome.agent_name();
    take_time(welcome.server_time_ms(), Duration::zero());
    log_.info("Connected to the controller", {{"network", network_}, {"relay", name_}});
  }

  void handle_update(const wire::RelayUpdate& update) {
    RelayMembership told{network_, name_, {}};
    if (update.seal_key().size() == told.seal_key.size()) {
      std::ranges::copy(as_bytes(update.seal_key()), told.seal_key.begin());
      if (!port_->has_begun() || state_.membership() != told) serve(told);
      if (auto stored = state_.store(told); !stored) {
        log_.error("What the controller said is not kept over a restart", {{"reason", stored.error()}});
      }
    }
    for (const wire::RevokedRoute& revoked : update.revoked_routes()) {
      RouteId route;
      if (revoked.route_id().size() != route.bytes.size()) continue;
      std::ranges::copy(as_bytes(revoked.route_id()), route.bytes.begin());
      port_->revoke(route);
    }
    if (update.full() && port_->has_begun()) report(loop_.now());
  }

  void serve(const RelayMembership& membership) {
    port_->begin({.name = membership.name, .token_key = membership.seal_key}, random_);
    log_.info("The relay is ready",
              {{"network", membership.network}, {"relay", membership.name}, {"listen", options_.listen.to_string()}});
  }

  void take_time(std::int64_t server_time_ms, Duration age) {
    const auto wall = std::chrono::milliseconds(server_time_ms) + age;
    port_->set_wall_offset(wall - loop_.now().time_since_epoch());
  }

  void report(Instant now) {
    report_at_ = now + kReportEvery;
    const RelaySnapshot relay = port_->snapshot();
    wire::AgentMessage message;
    wire::RelayReport& report = *message.mutable_relay_report();
    report.set_epoch(relay.epoch);
    report.add_addresses(options_.listen.to_string());
    report.set_bindings(relay.bindings);
    report.set_bindings_max(relay_core::RelayConfig{}.bindings_max);
    report.set_forwarded_packets(relay.stats.forwarded_packets);
    report.set_forwarded_bytes(relay.stats.forwarded_bytes);
    std::uint64_t dropped = relay.send_dropped + relay.links.dropped_datagrams + relay.links.forged;
    for (const std::uint64_t count : relay.stats.drops) dropped += count;
    report.set_dropped_packets(dropped);
    report.set_sent_at(static_cast<std::uint64_t>(to_nanoseconds(now)));
    control_->send(message);
  }

  void reload() {
    const auto options = reread_();
    if (!options) return log_.error("The configuration stays as it is", {{"reason", options.error().message}});
    log_.set_level(*runtime::parse_log_level(options->log_level));
  }

  void fail(ExitCode code, std::string message) {
    if (!failure_) failure_ = ServerError{code, std::move(message)};
    loop_.stop();
  }

  const ServeOptions& options_;
  const Reread& reread_;
  RelayState state_;
  runtime::Logger log_;
  runtime::KernelRandom random_;
  runtime::EventLoop loop_;
  runtime::SignalWatcher signals_;
  std::unique_ptr<RelayPort> port_;
  std::unique_ptr<FrontThread> front_;
  std::unique_ptr<runtime::ControlClient> control_;
  std::string network_;
  std::string name_;
  bool ever_welcomed_ = false;
  bool reached_ = false;
  std::string last_problem_;
  std::optional<Instant> report_at_;
  std::optional<ServerError> failure_;
};

}  // namespace

std::expected<void, ServerError> run_relay(const ServeOptions& options,
                                           const std::function<std::expected<ServeOptions, ServerError>()>& reread) {
  runtime::raise_open_files_limit();
  runtime::KernelRandom random;
  auto state = RelayState::open(options.folder, random);
  if (!state) return std::unexpected(state.error());
  if (!state->membership() && options.relay_token.empty()) {
    return std::unexpected(
        ServerError{ExitCode::Usage,
                    "this relay has not enrolled yet and has no token: give POSTERN_RELAY_TOKEN or --relay-token-file; "
                    "postern-server admin relay add prints the token"});
  }
  RelayServer server(options, reread, std::move(*state));
  return server.run();
}

}  // namespace postern::server
