#include "services/server/server.hpp"

#include <csignal>

#include "runtime/http/certificate_check.hpp"
#include "runtime/http/http_server.hpp"
#include "runtime/http/line_server.hpp"
#include "runtime/loop/event_loop.hpp"
#include "runtime/os/files.hpp"
#include "runtime/os/limits.hpp"
#include "runtime/os/notify.hpp"
#include "runtime/os/random.hpp"
#include "runtime/store/master_key.hpp"
#include "services/server/admin_service.hpp"
#include "services/server/controller_host.hpp"
#include "services/server/link_front.hpp"
#include "services/server/relay_addresses.hpp"
#include "services/server/relay_names.hpp"
#include "services/server/relay_thread.hpp"
#include "services/server/web_context.hpp"

namespace postern::server {
namespace {

using config::ExitCode;
using runtime::monotonic_now;
using runtime::wall_now;

constexpr std::size_t kPemFileMax = 256 * 1024;
constexpr std::chrono::hours kLeafCheckEvery{24};
/// For close frames and last answers.
constexpr std::chrono::milliseconds kGoodbye{300};

struct CertificatePair {
  std::string certificate;
  std::string key;
};

ServerError to_server_error(const runtime::ListenError& error) {
  switch (error.kind) {
    case runtime::ListenError::Kind::AddressInUse:
      return {ExitCode::AddressInUse, error.message};
    case runtime::ListenError::Kind::NotPermitted:
      return {ExitCode::NotPermitted, error.message};
    case runtime::ListenError::Kind::BadCertificate:
      return {ExitCode::Usage, error.message};
    case runtime::ListenError::Kind::Other:
      break;
  }
  return {ExitCode::Failure, error.message};
}

/// Of a file that an option names.
ServerError to_server_error(const runtime::FileError& error) {
  const bool permission =
      error.kind == runtime::FileErrorKind::NoPermission || error.kind == runtime::FileErrorKind::TooOpen;
  return {permission ? ExitCode::NotPermitted : ExitCode::Usage, error.text};
}

/// What TLS presents: the own leaf and root, or the files that were named.
std::expected<CertificatePair, ServerError> load_certificate(const ServeOptions& options, const ServerState& state) {
  if (options.certificate_file.empty()) {
    return CertificatePair{state.leaf.certificate_pem + state.network.root_certificate_pem, state.leaf.key.to_pem()};
  }
  const auto certificate = runtime::read_text_file(options.certificate_file, kPemFileMax);
  if (!certificate) return std::unexpected(to_server_error(certificate.error()));
  const auto key = runtime::read_secret_file(options.key_file, kPemFileMax);
  if (!key) return std::unexpected(to_server_error(key.error()));
  CertificatePair pair{*certificate, std::string(as_text(*key))};
  const auto address = PublicAddress::parse_url(state.network.url);
  const auto checked =
      runtime::check_certificate({options.certificate_file, pair.certificate, options.key_file, pair.key},
                                 address ? address->host : state.network.url, wall_now());
  if (!checked) return std::unexpected(ServerError{ExitCode::Usage, checked.error()});
  return pair;
}

/// With a public certificate nobody pins our root: tokens and enrolment URLs do not name it.
std::vector<controller::Record> records_for(const ServerState& state, bool own_ca) {
  std::vector<controller::Record> records = state.records;
  for (controller::Record& record : records) {
    if (auto* network = std::get_if<controller::NetworkRecord>(&record)) {
      network->root_certificate_pem = own_ca ? state.network.root_certificate_pem : "";
    }
  }
  return records;
}

SetupLinks open_setup_links(const ServerState& state) {
  SetupLinks links;
  for (const controller::Record& record : state.records) {
    const auto* secret = std::get_if<controller::SecretRecord>(&record);
    if (secret == nullptr || !secret->name.starts_with(kSetupRecordPrefix)) continue;
    if (const auto plain = runtime::open_secret(state.master, state.network.id, *secret)) links.add(*plain);
  }
  return links;
}

class Server {
 public:
  Server(const ServeOptions& options, ServerState state, CertificatePair certificate)
      : options_(options),
        state_(std::move(state)),
        log_("server", {.level = *runtime::parse_log_level(options.log_level)}),
        own_ca_(options.certificate_file.empty()),
        setup_links_(open_setup_links(state_)),
        controller_({}, {state_.signing, state_.knock_secret}, random_),
        passwords_(loop_),
        host_(loop_, controller_, state_.store, state_.network.id, log_,
              [this](const RouteId& route) {
                if (relay_) relay_->revoke(route);
              }),
        factors_(host_, state_.master, random_),
        web_{.host = host_,
             .passwords = passwords_,
             .random = random_,
             .log = log_,
             .url = state_.network.url,
             .network_name = state_.network.display_name,
             .setup_links = setup_links_,
             .factors = factors_,
             .sessions = sessions_},
        http_(loop_, {.tls = {.listen = options.listen,
                              .certificate_pem = certificate.certificate,
                              .private_key_pem = certificate.key}}),
        admin_socket_(loop_, options.admin_socket,
                      [this](const std::string& line, const auto& answer) { admin_->handle(line, answer); }),
        leaf_timer_(loop_),
        goodbye_(loop_) {}

  std::expected<void, ServerError> start() {
    controller_.load(monotonic_now(), wall_now(), records_for(state_, own_ca_));
    factors_.load(state_.records, log_);
    add_routes();
    if (auto started = http_.start(); !started) return std::unexpected(to_server_error(started.error()));
    if (auto opened = open_relay(); !opened) return std::unexpected(opened.error());
    admin_ = std::make_unique<AdminService>(admin_context());
    if (auto started = start_admin_socket(); !started) return std::unexpected(started.error());
    if (relay_) relay_->start();
    watch_relay_address();
    relay_names_.follow();
    host_.on_changed([this] { relay_names_.follow(); });
    check_leaf_daily();
    return {};
  }

  void run(const std::function<std::expected<ServeOptions, ServerError>()>& reread) {
    std::signal(SIGPIPE, SIG_IGN);
    loop_.on_signals({SIGTERM, SIGINT, SIGHUP},
                     [this, &reread](int number) { number == SIGHUP ? reload(reread) : stop(); });
    runtime::notify_ready();
    log_.info("The server is ready",
              {{"network", state_.network.slug}, {"url", state_.network.url}, {"listen", options_.listen.to_string()}});
    loop_.run();
    if (relay_) relay_->stop();
    log_.info("The server has stopped");
  }

 private:
  void add_routes() {
    add_page_routes(http_, web_);
    add_device_routes(http_, web_);
    add_oauth_routes(http_, web_);
    add_setup_routes(http_, web_);
    add_account_routes(http_, web_);
    http_.upgrade("/control/v1",
                  [this](std::shared_ptr<runtime::ByteStream> stream, const runtime::HttpRequest& request) {
                    host_.take_connection(std::move(stream), request);
                  });
    if (!options_.relay_role) return;
    link_front_ =
        std::make_unique<LinkFront>(http_, [this](runtime::LinkSocket::Connection connection, const std::string& key) {
          if (relay_) relay_->accept_link(std::move(connection), key);
        });
  }

  std::expected<void, ServerError> open_relay() {
    if (!options_.relay_role) return {};
    SocketAddress listen = options_.listen;
    listen.port = http_.port();  // the same number, also when a free one was picked
    auto opened = RelayThread::open(loop_, listen, state_.relay_seal, random_);
    if (!opened) return std::unexpected(opened.error());
    relay_ = std::move(*opened);
    for (const RouteId& route : controller_.revoked_routes()) relay_->revoke(route);
    const auto addresses = known_relay_addresses(options_.public_addresses, state_.network.url);
    if (!addresses.empty()) announce_relay(addresses);
    return {};
  }

  void announce_relay(const std::vector<SocketAddress>& addresses) {
    host_.set_relay({std::string(kLocalRelayName), addresses, state_.relay_seal, relay_->epoch()});
  }

  /// The URL has a name: agents hear of the relay once it is known, and again when it moves.
  void watch_relay_address() {
    const auto address = PublicAddress::parse_url(state_.network.url);
    if (!relay_ || !address || !known_relay_addresses(options_.public_addresses, state_.network.url).empty()) return;
    address_watch_ = std::make_unique<AddressWatch>(loop_, *address, [this](const std::vector<SocketAddress>& found) {
      if (!found.empty()) return announce_relay(found);
      log_.warn(
          "The server's own name is not known here, so agents are not told of the relay; --public-address names it",
          {{"url", state_.network.url}});
    });
  }

  AdminContext admin_context() {
    const Digest& digest = root_digest(state_);
    return {.host = host_,
            .passwords = passwords_,
            .setup_links = setup_links_,
            .factors = factors_,
            .sessions = sessions_,
            .relay = relay_.get(),
            .random = random_,
            .master = state_.master,
            .url = state_.network.url,
            .enrolment_url = enrolment_url(state_.network.url, own_ca_ ? std::optional(digest) : std::nullopt),
            .ca_digest = own_ca_ ? to_base64url(digest) : "",
            .ca_pem = own_ca_ ? state_.network.root_certificate_pem : "",
            .listen = options_.listen.to_string(),
            .started_at = wall_now()};
  }

  std::expected<void, ServerError> start_admin_socket() {
    const std::string folder = std::filesystem::path(options_.admin_socket).parent_path().string();
    if (!folder.empty()) {
      if (auto made = runtime::make_directories(folder, 0755); !made) {
        return std::unexpected(ServerError{ExitCode::NotPermitted, made.error().text});
      }
    }
    const auto started = admin_socket_.start();
    if (started) return {};
    if (started.error().kind == runtime::ListenError::Kind::AddressInUse) {
      return std::unexpected(ServerError{ExitCode::AlreadyRunning, started.error().message});
    }
    return std::unexpected(to_server_error(started.error()));
  }

  void check_leaf_daily() {
    leaf_timer_.start(kLeafCheckEvery, [this] {
      const auto renewed = renew_leaf(state_, wall_now(), random_);
      if (!renewed) log_.error("The certificate could not be renewed", {{"reason", renewed.error().message}});
      if (renewed && *renewed && own_ca_) present_certificate(options_);
      check_leaf_daily();
    });
  }

  void present_certificate(const ServeOptions& options) {
    const auto certificate = load_certificate(options, state_);
    const auto replaced = certificate ? http_.replace_certificate(certificate->certificate, certificate->key)
                                      : std::unexpected(certificate.error().message);
    if (!replaced) return log_.error("The certificate stays as it is", {{"reason", replaced.error()}});
    log_.info("New connections get the new certificate");
  }

  void reload(const std::function<std::expected<ServeOptions, ServerError>()>& reread) {
    const auto options = reread();
    if (!options) return log_.error("The configuration stays as it is", {{"reason", options.error().message}});
    log_.set_level(*runtime::parse_log_level(options->log_level));
    if (!own_ca_) present_certificate(options_);
  }

  void stop() {
    log_.info("The server stops");
    http_.stop();
    admin_socket_.stop();
    host_.stop();
    goodbye_.start(kGoodbye, [this] { loop_.stop(); });
  }

  ServeOptions options_;
  ServerState state_;
  runtime::Logger log_;
  bool own_ca_;
  runtime::KernelRandom random_;
  runtime::IoLoop loop_;
  SetupLinks setup_links_;
  controller::Controller controller_;
  PasswordPool passwords_;
  ControllerHost host_;
  FactorStore factors_;
  signin::Sessions sessions_{random_};
  WebContext web_;
  runtime::HttpServer http_;
  std::unique_ptr<RelayThread> relay_;
  std::unique_ptr<LinkFront> link_front_;
  std::unique_ptr<AddressWatch> address_watch_;
  RelayNames relay_names_{loop_, host_, log_};
  std::unique_ptr<AdminService> admin_;
  runtime::LineServer admin_socket_;
  runtime::Timer leaf_timer_;
  runtime::Timer goodbye_;
};

}  // namespace

std::expected<void, ServerError> run_server(const ServeOptions& options,
                                            const std::function<std::expected<ServeOptions, ServerError>()>& reread) {
  runtime::raise_open_files_limit();
  runtime::KernelRandom random;
  auto state = open_state(options.folder, wall_now(), random);
  if (!state) return std::unexpected(state.error());
  auto certificate = load_certificate(options, *state);
  if (!certificate) return std::unexpected(certificate.error());
  Server server(options, std::move(*state), std::move(*certificate));
  if (auto started = server.start(); !started) return started;
  server.run(reread);
  return {};
}

}  // namespace postern::server
