#include "services/client/daemon.hpp"

#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <filesystem>

#include "runtime/os/notify.hpp"
#include "services/client/direct_look_up.hpp"

namespace postern::client {

namespace {

using config::ExitCode;

/// Memory for packets in flight; at the bound reading pauses.
constexpr std::size_t kPoolBytes = 192U << 20;
constexpr Duration kRetry = std::chrono::seconds(10);
constexpr Duration kWatchInterval = std::chrono::milliseconds(500);
/// With addresses from last time at hand, a slow resolver is not waited for longer.
constexpr Duration kLookUpMax = std::chrono::seconds(3);

/// So long the controller is away before its name is looked up again, and so long between two look-ups.
constexpr Duration kAwayBeforeLookUp = std::chrono::seconds(10);
constexpr Duration kLookUpAgain = std::chrono::seconds(30);

/// Living flows in one answer: it stays below IpcServer::kUnreadMax.
constexpr std::size_t kFlowsShown = 4096;

constexpr const char* kNotSignedIn = "nobody is signed in on this device: run `postern login URL`";

std::string device_name() {
  std::array<char, 128> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0' ? name.data() : "unnamed";
}

std::string absolute(const std::string& path) {
  return std::filesystem::absolute(path).lexically_normal().string();
}

}  // namespace

Daemon::Daemon(DaemonConfig config)
    : config_(std::move(config)),
      log_("posternd", config_.log),
      pool_(kPoolBytes),
      store_(absolute(config_.state_directory)),
      journal_(store_.directory()),
      owner_(to_hex(random_.make<std::array<std::uint8_t, 16>>())),
      worker_(loop_) {}

Daemon::~Daemon() {
  loop_.remove_participant(*this);
  if (look_up_.joinable()) look_up_.join();
}

std::expected<void, Problem> Daemon::prepare() {
  if (const auto made = store_.prepare(); !made) return made;
  auto lock = runtime::LockFile::acquire(store_.directory() + "/posternd.lock");
  if (!lock) {
    const bool in_use = lock.error().kind == runtime::FileErrorKind::InUse;
    return std::unexpected(Problem{in_use ? ExitCode::AlreadyRunning : ExitCode::StateUnusable,
                                   in_use ? "another posternd runs with the state folder " + store_.directory() +
                                                ": stop it, or give this one another --state"
                                          : lock.error().text +
                                                ": make the state folder writable for posternd, or name another one "
                                                "with --state"});
  }
  lock_ = std::move(*lock);
  const auto stale = journal_.play_back(std::nullopt);
  if (!stale) return std::unexpected(Problem{ExitCode::StateUnusable, stale.error()});
  if (*stale == PlayBack::Restored) log_.warn("The last posternd did not end cleanly; DNS has been put back");
  if (const auto tun = TunLink::probe(config_.tun_name); !config_.tun_name.empty() && !tun) return tun;
  ipc_.emplace(
      loop_, [this](IpcConnection from, std::string_view line) { handle_line(from, line); },
      [this](IpcConnection connection) { handle_closed(connection); });
  const auto parent = std::filesystem::path(config_.socket_path).parent_path().string();
  if (!parent.empty()) {
    const auto made = runtime::make_directories(parent, 0755);
    if (!made) return std::unexpected(Problem{ExitCode::NotPermitted, made.error().text});
  }
  if (const auto listening = ipc_->listen(config_.socket_path); !listening) return listening;
  return start_proxy();
}

std::expected<void, Problem> Daemon::load() {
  auto sign_in = store_.load_sign_in();
  if (!sign_in) return std::unexpected(sign_in.error());
  auto key = store_.load_key();
  if (!key) return std::unexpected(key.error());
  key_ = std::move(*key);
  if (key_) sign_in_ = std::move(*sign_in);
  if (sign_in_) sign_in_->server.proxies = config_.proxies;
  return {};
}

std::expected<void, Problem> Daemon::run() {
  signals_.emplace(loop_, std::initializer_list<int>{SIGTERM, SIGINT, SIGHUP}, [this](int number) {
    if (number != SIGHUP) loop_.stop();
  });
  if (const auto prepared = prepare(); !prepared) return prepared;
  if (const auto loaded = load(); !loaded) return loaded;
  if (!config_.tun_name.empty()) start_watchdog();
  // Its thread inherits the signals that are blocked above.
  dns_.emplace(loop_, journal_, owner_, config_.resolv_conf,
               [this](DnsReport report) { handle_dns(std::move(report)); });
  loop_.add_participant(*this);
  runtime::notify_ready();
  log_.info("posternd has started", {{"version", config_.version}});
  if (sign_in_ && !sign_in_->paused) connect();
  loop_.run();
  log_.info("posternd is stopping");
  worker_.cancel();
  stop_engine();
  proxy_.reset();
  dns_.reset();
  ipc_.reset();
  if (watchdog_) {
    loop_.remove(watchdog_->pidfd());
    watchdog_->finish();
  }
  return {};
}

void Daemon::start_watchdog() {
  auto watchdog = Watchdog::start({"/proc/self/exe", store_.directory(), owner_});
  if (!watchdog) {
    log_.error("The watchdog could not be started, so DNS stays changed if posternd is killed: " + watchdog.error());
    return;
  }
  watchdog_ = std::move(*watchdog);
  if (watchdog_->pidfd() < 0) return;
  loop_.add(watchdog_->pidfd(), EPOLLIN, [this](std::uint32_t) {
    log_.warn("The watchdog has ended; starting another one");
    loop_.remove(watchdog_->pidfd());
    watchdog_->finish();
    start_watchdog();
  });
}

// --- connection ------------------------------------------------------------------------------------------------------

void Daemon::connect() {
  trouble_.clear();
  retry_at_.reset();
  if (engine_ || look_up_deadline_ || looks_for_proxy_) return;
  // The server's addresses are found before our resolver is installed, and kept.
  if (IpAddress::parse(sign_in_->server.host)) return handle_looked_up({sign_in_->server.host});
  if (look_up_.joinable()) look_up_.join();
  look_up_deadline_ = loop_.now() + kLookUpMax;
  look_up_ = std::thread([this, host = sign_in_->server.host, proxy = proxy_name()] {
    const auto addresses = look_up(host);
    const auto proxies = proxy.empty() ? std::vector<std::string>() : look_up(proxy);
    (void)loop_.post([this, addresses, proxies] {
      if (!proxies.empty()) proxy_addresses_ = proxies;
      handle_looked_up(addresses);
    });
  });
}

void Daemon::handle_looked_up(const std::vector<std::string>& addresses) {
  look_up_deadline_.reset();
  if (!sign_in_ || sign_in_->paused || engine_) return;
  if (!addresses.empty() && addresses != sign_in_->server.fixed_addresses) {
    sign_in_->server.fixed_addresses = addresses;
    (void)store_.save_sign_in(*sign_in_);
  }
  if (sign_in_->server.fixed_addresses.empty() && https_proxy() == nullptr) {
    // Nothing is started without: later the name would be asked of the resolver that is installed then.
    trouble_ =
        "the server's name " + sign_in_->server.host + " is not found: check the network; tried again every 10 s";
    retry_at_ = loop_.now() + kRetry;
    return;
  }
  find_proxy();
}

const runtime::HttpProxy* Daemon::https_proxy() const {
  return sign_in_ && sign_in_->server.proxies ? sign_in_->server.proxies->proxy_for(sign_in_->server.host) : nullptr;
}

std::string Daemon::proxy_name() const {
  const auto* proxy = https_proxy();
  return proxy == nullptr || IpAddress::parse(proxy->host) ? "" : proxy->host;
}

void Daemon::find_proxy() {
  const std::string name = proxy_name();
  if (name.empty() || !proxy_addresses_.empty()) return start_engine();
  if (std::exchange(looks_for_proxy_, true)) return;
  if (look_up_.joinable()) look_up_.join();
  look_up_ = std::thread([this, name] {
    const auto addresses = look_up(name);
    (void)loop_.post([this, name, addresses] { handle_proxy_found(name, addresses); });
  });
}

void Daemon::handle_proxy_found(const std::string& name, const std::vector<std::string>& addresses) {
  looks_for_proxy_ = false;
  if (!sign_in_ || sign_in_->paused || engine_) return;
  if (addresses.empty()) {
    trouble_ = "the proxy's name " + name + " is not found: check the network; tried again every 10 s";
    retry_at_ = loop_.now() + kRetry;
    return;
  }
  proxy_addresses_ = addresses;
  start_engine();
}

/// The server may have moved: while its controller is away, its name is looked up again. The host's own name servers
/// are asked directly; our resolver is never asked for our own server.
void Daemon::look_again(Instant now) {
  if (!engine_ || looks_again_ || (next_look_up_ && now < *next_look_up_)) return;
  const std::string host = IpAddress::parse(sign_in_->server.host) ? "" : sign_in_->server.host;
  const std::string proxy = proxy_name();
  if (host.empty() && proxy.empty()) return;
  const auto lost = engine_->controller_lost_at();
  if (!lost || now - *lost < kAwayBeforeLookUp) return;
  next_look_up_ = now + kLookUpAgain;
  // Without a manager the host's DNS is as it was before us.
  const bool is_ours = dns_report_.manager != DnsManagerKind::None;
  looks_again_ = true;
  if (look_up_.joinable()) look_up_.join();
  look_up_ = std::thread([this, host, proxy, is_ours, servers = dns_report_.upstream] {
    const auto find = [&](const std::string& name) -> LookedUp {
      if (name.empty()) return {};
      return {name, is_ours ? look_up_at(servers, name) : look_up(name)};
    };
    (void)loop_.post([this, server = find(host), found = find(proxy)] { handle_looked_again(server, found); });
  });
}

void Daemon::handle_looked_again(const LookedUp& server, const LookedUp& proxy) {
  looks_again_ = false;
  if (!sign_in_ || !engine_) return;
  if (!proxy.addresses.empty() && proxy.name == proxy_name()) {
    proxy_addresses_ = proxy.addresses;
    engine_->set_proxy_addresses(proxy_addresses_);
  }
  if (sign_in_->server.host != server.name || server.addresses.empty()) return;
  // Resolvers give the same addresses in changing order.
  const auto& held = sign_in_->server.fixed_addresses;
  if (std::set(server.addresses.begin(), server.addresses.end()) == std::set(held.begin(), held.end())) return;
  sign_in_->server.fixed_addresses = server.addresses;
  (void)store_.save_sign_in(*sign_in_);
  log_.info("The server has moved", {{"address", server.addresses.front()}});
  engine_->set_server_addresses(server.addresses);
}

void Daemon::start_engine() {
  EngineConfig config{*sign_in_, *key_, config_.tun_name,  "postern/" + config_.version + " linux",
                      avoid_,    false, config_.maps_port, proxy_addresses_};
  auto engine = Engine::start(std::move(config), {loop_, log_, random_, pool_, store_, *dns_, streams_, associations_},
                              [this](const EngineEnded& ended) { handle_ended(ended); });
  if (engine) {
    engine_ = std::move(*engine);
    return;
  }
  trouble_ = engine.error().text;
  log_.error("Connecting failed: " + trouble_);
  retry_at_ = loop_.now() + kRetry;
}

void Daemon::stop_engine() {
  if (engine_) engine_->stop();
  engine_.reset();
}

void Daemon::handle_ended(const EngineEnded& ended) {
  if (!engine_) return;
  stop_engine();
  log_.warn("The connection has ended: " + ended.reason);
  if (ended.kind == EngineEnded::Kind::Restart) {
    avoid_ = ended.avoid;
    return start_engine();
  }
  const bool is_sign_in = ended.kind == EngineEnded::Kind::SignInEnded;
  trouble_ = is_sign_in ? "the sign-in has ended (" + ended.reason + "): run `postern login`" : ended.reason;
}

void Daemon::handle_dns(DnsReport report) {
  const bool is_news = report.manager != dns_report_.manager || report.state != dns_report_.state ||
                       report.problem != dns_report_.problem;
  dns_report_ = report;
  if (engine_) engine_->handle_dns(std::move(report));
  if (!is_news) return;
  if (!dns_report_.problem.empty()) return log_.error("DNS for resources does not work: " + dns_report_.problem);
  if (dns_report_.state != DnsState::Installed) return;
  log_.info("DNS for resources is set up", {{"manager", to_string(dns_report_.manager)}, {"why", dns_report_.reason}});
}

ClientStatus Daemon::status() const {
  ClientStatus status = connection_status();
  if (sign_in_) {
    const auto& server = sign_in_->server;
    const auto& pin = sign_in_->trust.root_pin;
    status.server = ServerStatus{server.host, server.port, server.fixed_addresses, pin ? to_base64url(*pin) : "",
                                 https_proxy() != nullptr ? https_proxy()->name() : ""};
  }
  status.has_tun = !config_.tun_name.empty();
  if (proxy_) {
    const ProxyCounters& counters = proxy_->counters();
    status.proxy = ProxyStatus{proxy_->address().to_string(), streams_.size(), counters.accepted,
                               counters.foreign + counters.full + counters.malformed, associations_.size()};
    add_datagram_drops(status);
  }
  status.dns.manager = to_string(dns_report_.manager);
  status.dns.state = to_string(dns_report_.state);
  status.dns.reason = dns_report_.reason;
  status.dns.problem = dns_report_.problem;
  status.dns.routes_by_domain = dns_report_.routes_by_domain;
  for (const IpAddress& server : dns_report_.upstream) status.dns.upstream.push_back(server.to_string());
  return status;
}

void Daemon::add_datagram_drops(ClientStatus& status) const {
  const UdpAssociations::Counters& counters = associations_.counters();
  const std::array<std::pair<const char*, std::uint64_t>, 5> drops{{{"proxy_datagram_fragment", counters.fragments},
                                                                    {"proxy_datagram_foreign", counters.foreign},
                                                                    {"proxy_datagram_malformed", counters.malformed},
                                                                    {"proxy_datagram_full", counters.full},
                                                                    {"proxy_association_refused", counters.refused}}};
  for (const auto& [name, count] : drops) {
    if (count > 0) status.drops[name] = count;
  }
}

ClientStatus Daemon::connection_status() const {
  if (engine_) return engine_->status();
  ClientStatus status;
  if (sign_in_) {
    status.network = sign_in_->network;
    status.account = sign_in_->account;
  }
  if (worker_.is_running() && login_from_) {
    status.state = ClientState::Authenticating;
    status.reason = "waiting for somebody to sign in";
  } else if (!sign_in_) {
    status.reason = kNotSignedIn;
  } else if (sign_in_->paused) {
    status.state = ClientState::Paused;
    status.reason = "disconnected by hand: run `postern connect`";
  } else if (look_up_deadline_) {
    status.state = ClientState::Connecting;
    status.reason = "looking up " + sign_in_->server.host;
  } else {
    status.reason = trouble_;
  }
  return status;
}

// --- requests --------------------------------------------------------------------------------------------------------

void Daemon::handle_line(IpcConnection from, std::string_view line) {
  const auto request = parse_request(line);
  if (!request) return ipc_->send(from, build_error({ExitCode::Usage, request.error()}));
  if (changes_something(request->type)) {
    const auto allowed = ipc_->check_may_change(from);
    if (!allowed) return ipc_->send(from, build_error(allowed.error()));
  }
  switch (request->type) {
    case RequestType::Status:
      if (!request->watch) return ipc_->send(from, build_status(status(), Last::Yes));
      watchers_[from].clear();
      return tell_watchers();
    case RequestType::Resources:
      if (!sign_in_) return ipc_->send(from, build_error({ExitCode::SignInNeeded, kNotSignedIn}));
      return ipc_->send(from, build_status(status(), Last::Yes));
    case RequestType::Explain:
      return handle_explain(from, *request);
    case RequestType::Flows:
      return ipc_->send(from, build_flows(engine_ ? engine_->flows(kFlowsShown) : FlowList{}));
    case RequestType::Open:
      return handle_open(from, *request);
    case RequestType::Login:
      return handle_login(from, *request);
    case RequestType::Logout:
      return handle_logout(from);
    case RequestType::Connect:
      return handle_connect(from);
    case RequestType::Disconnect:
      return handle_disconnect(from);
    case RequestType::Version:
      return ipc_->send(from, build_version(config_.version));
  }
}

void Daemon::handle_explain(IpcConnection from, const Request& request) {
  const auto destination = parse_destination(request.destination);
  if (!destination) return ipc_->send(from, build_error({ExitCode::Usage, destination.error()}));
  if (!sign_in_) return ipc_->send(from, build_error({ExitCode::SignInNeeded, kNotSignedIn}));
  if (engine_) {
    Explanation explanation = engine_->explain(*destination);
    // It would be reached, if its name were asked of us.
    if (!explanation.name.empty() && !dns_report_.problem.empty()) {
      explanation.notes.push_back("names do not lead here at the moment: " + dns_report_.problem);
    }
    return ipc_->send(from, build_explanation(explanation));
  }
  const std::string why = status().reason;
  ipc_->send(from,
             build_error({ExitCode::NotReached, destination->text() + " is not reached through Postern, which is " +
                                                    "not connected" + (why.empty() ? "" : ": " + why)}));
}

void Daemon::handle_closed(IpcConnection connection) {
  watchers_.erase(connection);
  if (login_from_ != connection) return;
  worker_.cancel();
  login_from_.reset();
}

void Daemon::handle_login(IpcConnection from, const Request& request) {
  if (login_from_) {
    return ipc_->send(from,
                      build_error({ExitCode::Conflict, "another `postern login` is waiting: finish or stop it first"}));
  }
  auto target = parse_server_target(request.url, request.fingerprint);
  if (!target) return ipc_->send(from, build_error({ExitCode::Usage, target.error()}));
  if (const auto writable = store_.check_writable(); !writable) return ipc_->send(from, build_error(writable.error()));
  target->server.proxies = config_.proxies;
  // The same server keeps knowing this device by its key; another one gets a key of its own.
  const bool is_same = sign_in_ && key_ && sign_in_->server.host == target->server.host;
  login_key_ = is_same ? *key_ : identity::PrivateKey::generate(random_);
  login_from_ = from;
  worker_.start(std::move(*target), *login_key_, device_name(),
                {[this](const Invitation& invitation) {
                   if (login_from_) ipc_->send(*login_from_, build_invitation(invitation));
                 },
                 [this](const std::expected<SignIn, Problem>& result) { handle_signed_in(result); }});
}

void Daemon::handle_signed_in(std::expected<SignIn, Problem> result) {
  if (!login_from_) return;
  const IpcConnection from = *std::exchange(login_from_, std::nullopt);
  if (result) {
    const auto saved = store_.save_enrolment(*result, *login_key_);
    if (!saved) result = std::unexpected(saved.error());
  }
  if (!result) return ipc_->send(from, build_error(result.error()));
  stop_engine();
  key_ = std::move(login_key_);
  sign_in_ = *result;
  log_.info("Somebody has signed in");
  ipc_->send(from, build_signed_in(*sign_in_));
  // Its addresses were looked up just now, for the sign-in itself.
  look_up_deadline_.reset();
  handle_looked_up(sign_in_->server.fixed_addresses);
}

void Daemon::handle_logout(IpcConnection from) {
  if (!sign_in_ || !key_) return ipc_->send(from, build_error({ExitCode::SignInNeeded, kNotSignedIn}));
  if (worker_.is_running()) {
    return ipc_->send(from,
                      build_error({ExitCode::Conflict, "a sign-in or sign-out is running: try again in a moment"}));
  }
  if (const auto forgotten = store_.forget_sign_in(); !forgotten) {
    return ipc_->send(from, build_error(forgotten.error()));
  }
  // Before the server is asked, so that its answer does not come through a connection that it ends.
  stop_engine();
  worker_.start_sign_out(*sign_in_, *key_, [this, from](const std::string& failure) {
    ipc_->send(from, build_done(failure.empty() ? "signed out"
                                                : "signed out here; the server could not be told (" + failure +
                                                      "): remove the device there"));
  });
  sign_in_.reset();
  key_.reset();
  trouble_.clear();
  retry_at_.reset();
}

void Daemon::handle_connect(IpcConnection from) {
  if (!sign_in_) return ipc_->send(from, build_error({ExitCode::SignInNeeded, kNotSignedIn}));
  const bool was_paused = std::exchange(sign_in_->paused, false);
  const auto saved = store_.save_sign_in(*sign_in_);
  if (!saved) sign_in_->paused = was_paused;
  if (!saved) return ipc_->send(from, build_error(saved.error()));
  connect();
  if (!trouble_.empty()) return ipc_->send(from, build_error({ExitCode::Failure, trouble_}));
  ipc_->send(from, build_done(engine_ && engine_->status().state == ClientState::Online ? "connected" : "connecting"));
}

void Daemon::handle_disconnect(IpcConnection from) {
  if (!sign_in_) return ipc_->send(from, build_error({ExitCode::SignInNeeded, kNotSignedIn}));
  sign_in_->paused = true;
  const auto saved = store_.save_sign_in(*sign_in_);
  stop_engine();
  trouble_.clear();
  retry_at_.reset();
  if (!saved) return ipc_->send(from, build_error(saved.error()));
  ipc_->send(from, build_done("disconnected"));
}

void Daemon::tell_watchers() {
  next_watch_ = loop_.now() + kWatchInterval;
  const std::string text = build_status(status(), Last::No);
  std::vector<IpcConnection> behind;
  for (const auto& [connection, told] : watchers_) {
    if (told != text) behind.push_back(connection);
  }
  for (const IpcConnection connection : behind) {
    watchers_[connection] = text;
    ipc_->send(connection, text);
  }
}

// --- turns -----------------------------------------------------------------------------------------------------------

void Daemon::end_turn(Instant now) {
  if (!engine_) {
    streams_.handle_timeout(now);
    streams_.refuse_all(now, {FlowRefusal::NoRelay, tcp::Refusal::NetworkUnreachable});
    streams_.read_ready(now);
    streams_.write_ready(now);
    while (associations_.poll_outgoing()) {
    }
    while (associations_.poll_ended()) {
    }
  }
  if (!watchers_.empty() && next_watch_ && now >= *next_watch_) tell_watchers();
  if (look_up_deadline_ && now >= *look_up_deadline_) {
    look_up_deadline_.reset();
    const bool is_found = sign_in_ && (!sign_in_->server.fixed_addresses.empty() || https_proxy() != nullptr);
    const bool is_proxy_found = proxy_name().empty() || !proxy_addresses_.empty();
    if (is_found && is_proxy_found && !sign_in_->paused && !engine_) start_engine();
  }
  look_again(now);
  if (retry_at_ && now >= *retry_at_) {
    retry_at_.reset();
    if (sign_in_ && !sign_in_->paused) connect();
  }
}

std::optional<Instant> Daemon::next_timeout() const {
  std::optional<Instant> next;
  const auto consider = [&](const std::optional<Instant>& at) {
    if (at && (!next || *at < *next)) next = at;
  };
  if (!engine_) consider(streams_.next_timeout());
  if (!watchers_.empty()) consider(next_watch_);
  const bool can_start = !sign_in_ || !sign_in_->server.fixed_addresses.empty() || https_proxy() != nullptr;
  if (!look_up_deadline_ || can_start) consider(look_up_deadline_);
  consider(retry_at_);
  const bool may_move =
      engine_ && sign_in_ && !looks_again_ && (!IpAddress::parse(sign_in_->server.host) || !proxy_name().empty());
  if (const auto lost = may_move ? engine_->controller_lost_at() : std::nullopt) {
    consider(std::max(*lost + kAwayBeforeLookUp, next_look_up_.value_or(Instant{})));
  }
  return next;
}

}  // namespace postern::client
