#include "services/client/dns/dns_keeper.hpp"

#include <sys/epoll.h>

#include <array>
#include <future>
#include <utility>

#include "runtime/dns/file_watch.hpp"
#include "runtime/dns/system_bus.hpp"
#include "services/client/dns/dns_choice.hpp"
#include "services/client/dns/file_dns.hpp"
#include "services/client/dns/network_manager_dns.hpp"
#include "services/client/dns/resolvconf_dns.hpp"
#include "services/client/dns/resolved_dns.hpp"
#include "services/client/resolv_conf.hpp"

namespace postern::client {

namespace {

/// Files that are written when the host's name servers change, beside resolv.conf itself.
constexpr std::array kWatched = {"/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf",
                                 "/run/NetworkManager/resolv.conf", "/run/resolvconf/resolv.conf",
                                 "/etc/nsswitch.conf"};
/// A service that starts writes several times; one look afterwards is enough.
constexpr Duration kSettle = std::chrono::milliseconds(200);

}  // namespace

std::string_view to_string(DnsState state) {
  constexpr std::array<std::string_view, 4> kNames = {"off", "installed", "contested", "failed"};
  return kNames[static_cast<std::size_t>(state)];
}

/// Everything here runs on the keeper's thread.
class DnsKeeper::Worker final : private runtime::TurnParticipant {
 public:
  Worker(runtime::EventLoop& loop, Journal& journal, std::string owner, std::string path,
         std::function<void(DnsReport)> reported)
      : owner_loop_(loop),
        journal_(journal),
        owner_(std::move(owner)),
        path_(std::move(path)),
        reported_(std::move(reported)) {}

  [[nodiscard]] runtime::EventLoop& loop() { return loop_; }
  void run();
  void want(DnsPlan plan);
  [[nodiscard]] std::expected<void, std::string> release();

 private:
  void end_turn(Instant now) override;
  [[nodiscard]] std::optional<Instant> next_timeout() const override { return next_look_; }

  void connect_bus();
  void drop_bus();
  void look_soon(Instant now);
  void look(Instant now);
  [[nodiscard]] std::expected<DnsChoice, std::string> choose();
  [[nodiscard]] std::expected<DnsChange, std::string> apply(const DnsChoice& choice);
  [[nodiscard]] std::unique_ptr<DnsManager> make(DnsManagerKind kind);
  [[nodiscard]] bool may_change(Instant now);
  void report(DnsReport report);

  runtime::EventLoop& owner_loop_;
  Journal& journal_;
  std::string owner_;
  std::string path_;
  std::function<void(DnsReport)> reported_;

  runtime::EventLoop loop_;
  std::optional<runtime::FileWatch> files_;
  std::optional<runtime::SystemBus> bus_;
  std::unique_ptr<DnsManager> manager_;
  std::string resolvconf_;
  std::optional<DnsPlan> plan_;
  std::optional<Instant> next_look_;
  std::string passed_over_;  ///< why the file is written although somebody else owns it
  std::optional<DnsManagerKind> refused_;
  bool plan_is_new_ = false;
  unsigned changes_ = 0;  ///< since `changes_since_`, with a plan that has not changed
  Instant changes_since_{};
  Instant quiet_until_{};
  DnsReport reported_last_;
};

void DnsKeeper::Worker::run() {
  files_.emplace(loop_, [this] { look_soon(runtime::monotonic_now()); });
  if (!path_.empty()) files_->add(path_);
  for (const char* path : kWatched) files_->add(path);
  loop_.add_participant(*this);
  loop_.run();
  loop_.remove_participant(*this);
  drop_bus();
  files_.reset();
}

// --- the bus ---------------------------------------------------------------------------------------------------------

void DnsKeeper::Worker::connect_bus() {
  if (bus_) return;
  auto bus = runtime::SystemBus::open();
  if (!bus) return;
  bus_.emplace(std::move(*bus));
  const auto heard = [this] { look_soon(runtime::monotonic_now()); };
  for (const char* service : {kResolvedService, kNetworkManagerService}) {
    (void)bus_->watch(
        "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" + std::string(service) + "'",
        heard);
  }
  // Its connections come and go, or have other servers. The first argument is the interface with the properties.
  for (const char* interface : {"", ".IP4Config", ".IP6Config"}) {
    (void)bus_->watch(
        "type='signal',sender='org.freedesktop.NetworkManager',member='PropertiesChanged',"
        "arg0='org.freedesktop.NetworkManager" +
            std::string(interface) + "'",
        heard);
  }
  (void)bus_->watch(
      "type='signal',sender='org.freedesktop.resolve1',member='PropertiesChanged',path='/org/freedesktop/resolve1'",
      heard);
  loop_.add(bus_->fd(), EPOLLIN, [](std::uint32_t) {});  // end_turn() reads
}

void DnsKeeper::Worker::drop_bus() {
  if (!bus_) return;
  const bool needs_bus =
      manager_ && (manager_->kind() == DnsManagerKind::Resolved || manager_->kind() == DnsManagerKind::NetworkManager);
  if (needs_bus) manager_.reset();
  loop_.remove(bus_->fd());
  bus_.reset();
}

// --- looks -----------------------------------------------------------------------------------------------------------

void DnsKeeper::Worker::want(DnsPlan plan) {
  plan_ = std::move(plan);
  plan_is_new_ = true;
  refused_.reset();
  next_look_ = Instant{};
}

void DnsKeeper::Worker::look_soon(Instant now) {
  if (!plan_ || now < quiet_until_) return;
  if (!next_look_ || *next_look_ > now + kSettle) next_look_ = now + kSettle;
}

void DnsKeeper::Worker::end_turn(Instant now) {
  if (plan_ && next_look_ && now >= *next_look_) look(now);
  // Last, because calls may have left signals in the connection's own queue.
  if (bus_ && !bus_->dispatch()) drop_bus();
}

void DnsKeeper::Worker::look(Instant now) {
  next_look_ = now + kLookInterval;
  files_->refresh();
  connect_bus();
  const auto choice = choose();
  DnsReport report;
  if (!choice) {
    report.state = DnsState::Failed;
    report.problem = choice.error();
    return this->report(std::move(report));
  }
  report.reason = choice->reason;
  report.manager = choice->kind;
  if (choice->kind == DnsManagerKind::None) return this->report(std::move(report));
  if (!choice->waits.empty()) {
    report.state = DnsState::Failed;
    report.problem = choice->waits;
    return this->report(std::move(report));
  }
  const auto done = apply(*choice);
  report.state = done ? DnsState::Installed : DnsState::Failed;
  if (!done) report.problem = done.error();
  if (manager_) {
    report.manager = manager_->kind();
    report.routes_by_domain = manager_->routes_by_domain();
    report.upstream = manager_->upstream(*plan_);
  }
  if (!passed_over_.empty() && done) report.reason = passed_over_;
  const bool is_repair = done && *done == DnsChange::Made && !std::exchange(plan_is_new_, false);
  if (is_repair && !may_change(now)) {
    quiet_until_ = now + kLookInterval;
    report.state = DnsState::Contested;
    report.problem = "another program keeps changing " + path_ + " as well: stop one of the two";
  }
  this->report(std::move(report));
}

std::expected<DnsChoice, std::string> DnsKeeper::Worker::choose() {
  auto host = observe_host_dns(path_, bus_ ? &*bus_ : nullptr);
  if (!host) return std::unexpected(host.error());
  resolvconf_ = host->resolvconf_program;
  const auto in_force = manager_ ? manager_->kind() : DnsManagerKind::None;
  if (in_force == DnsManagerKind::NetworkManager && names_server(host->content, plan_->resolver.to_string())) {
    // As it shall be; it may be restarting, and then keeps to what it was told.
    return DnsChoice{DnsManagerKind::NetworkManager, reported_last_.reason};
  }
  const auto* const file = dynamic_cast<const FileDns*>(manager_.get());
  if (file == nullptr || file->original() == nullptr || !is_ours(host->content)) return choose_dns_manager(*host);
  // Our own file says nothing about the owner; the one of before does, and its service may have come since.
  take_for_resolv_conf(*host, *file->original());
  DnsChoice choice = choose_dns_manager(*host);
  const bool stays = choice.kind == DnsManagerKind::File || !choice.waits.empty();
  return stays ? DnsChoice{DnsManagerKind::File, reported_last_.reason} : choice;
}

std::unique_ptr<DnsManager> DnsKeeper::Worker::make(DnsManagerKind kind) {
  if (kind == DnsManagerKind::Resolved) return std::make_unique<ResolvedDns>(*bus_);
  if (kind == DnsManagerKind::NetworkManager) {
    return std::make_unique<NetworkManagerDns>(journal_, owner_, path_, *bus_);
  }
  if (kind == DnsManagerKind::Resolvconf) {
    return std::make_unique<ResolvconfDns>(journal_, owner_, path_, resolvconf_);
  }
  return std::make_unique<FileDns>(journal_, owner_, path_);
}

std::expected<DnsChange, std::string> DnsKeeper::Worker::apply(const DnsChoice& choice) {
  const DnsManagerKind kind = refused_ == choice.kind ? DnsManagerKind::File : choice.kind;
  if (manager_ && manager_->kind() != kind) {
    (void)manager_->remove();
    manager_.reset();
  }
  if (!manager_) manager_ = make(kind);
  auto done = manager_->apply(*plan_);
  if (kind != DnsManagerKind::File) passed_over_.clear();
  if (done || kind == DnsManagerKind::File) return done;
  // Passed over until there is a new plan.
  (void)manager_->remove();
  refused_ = kind;
  passed_over_ = path_ + " is written instead: " + done.error();
  manager_ = make(DnsManagerKind::File);
  return manager_->apply(*plan_);
}

/// False when there have been too many changes lately: somebody is at it as well.
bool DnsKeeper::Worker::may_change(Instant now) {
  if (now - changes_since_ > kChangesTime) {
    changes_since_ = now;
    changes_ = 0;
  }
  return ++changes_ <= kChangesMax;
}

void DnsKeeper::Worker::report(DnsReport report) {
  if (report == reported_last_) return;
  reported_last_ = report;
  (void)owner_loop_.post([reported = reported_, report = std::move(report)] { reported(report); });
}

std::expected<void, std::string> DnsKeeper::Worker::release() {
  plan_.reset();
  next_look_.reset();
  refused_.reset();
  passed_over_.clear();
  const auto manager = std::exchange(manager_, nullptr);
  const auto done = manager ? manager->remove() : std::expected<void, std::string>{};
  DnsReport off;
  off.state = done ? DnsState::Off : DnsState::Failed;
  if (!done) off.problem = "DNS could not be put back: " + done.error();
  report(std::move(off));
  return done;
}

// --- the owner's side ------------------------------------------------------------------------------------------------

DnsKeeper::DnsKeeper(runtime::EventLoop& loop, Journal& journal, std::string owner, std::string path,
                     std::function<void(DnsReport)> reported)
    : worker_(std::make_unique<Worker>(loop, journal, std::move(owner), std::move(path), std::move(reported))),
      thread_([worker = worker_.get()] { worker->run(); }) {}

DnsKeeper::~DnsKeeper() {
  (void)release();
  worker_->loop().stop();
  thread_.join();
}

void DnsKeeper::want(DnsPlan plan) {
  if (wanted_ == plan) return;
  if (worker_->loop().post([worker = worker_.get(), plan] { worker->want(plan); })) wanted_ = std::move(plan);
}

std::expected<void, std::string> DnsKeeper::release() {
  if (!wanted_) return {};
  wanted_.reset();
  const auto done = std::make_shared<std::promise<std::expected<void, std::string>>>();
  auto result = done->get_future();
  const bool posted = worker_->loop().post([worker = worker_.get(), done] { done->set_value(worker->release()); });
  if (posted && result.wait_for(kReleaseMax) == std::future_status::ready) return result.get();
  return std::unexpected("no answer within 10 s; the watchdog does it when posternd ends");
}

}  // namespace postern::client
