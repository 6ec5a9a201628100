#include "services/client/dns/resolvconf_dns.hpp"

#include "runtime/os/files.hpp"
#include "runtime/os/process.hpp"
#include "services/client/resolv_conf.hpp"

namespace postern::client {

namespace {

constexpr std::size_t kFileMax = 64 * 1024;
/// openresolv itself waits 10 s for another one that is at work.
constexpr runtime::ProgramLimits kLimits = {.time = std::chrono::seconds(20)};
constexpr unsigned kTriesMax = 5;

using Arguments = std::vector<std::string>;

std::string text_of(const std::string& path) {
  return runtime::read_text_file(path, kFileMax).value_or(std::string{});
}

/// `lock` as for run_program(): whoever waits for the journal also waits for a program that outlives the daemon.
std::expected<std::string, std::string> run(const std::string& program, Arguments arguments,
                                            const std::string& input = {}, int lock = -1) {
  arguments.insert(arguments.begin(), program);
  const auto done = runtime::run_program(arguments, input, kLimits, lock);
  if (!done) return std::unexpected(done.error());
  if (done->status == 0) return done->output;
  return std::unexpected(program + " " + arguments[1] + " failed with " + std::to_string(done->status) + ": " +
                         done->output.substr(0, done->output.find('\n')));
}

/// Both kinds order records by interface, tunnels before cards.
std::string record_of(const DnsPlan& plan) {
  return "tun." + plan.interface_name;
}

bool is_openresolv(const std::string& program) {
  return run(program, {"--version"}).value_or(std::string{}).starts_with("openresolv");
}

}  // namespace

bool ResolvconfDns::is_first(const IpAddress& resolver) const {
  const ResolvConf conf = ResolvConf::parse(text_of(path_));
  return !conf.servers.empty() && conf.servers.front() == resolver;
}

std::expected<DnsChange, std::string> ResolvconfDns::apply(const DnsPlan& plan) {
  if (is_first(plan.resolver)) return DnsChange::None;
  const std::string resolver = plan.resolver.to_string();
  JournalEntry entry{owner_, {}, DnsMethod::Resolvconf, record_of(plan), program_};
  entry.resolver = resolver;
  const auto before = journal_.note(std::move(entry), path_);
  if (!before) return std::unexpected(before.error());
  before_ = ResolvConf::parse(before->content).servers;
  if (const auto added = add(plan, record_of(plan)); !added) return std::unexpected(added.error());
  if (is_first(plan.resolver)) return DnsChange::Made;
  return std::unexpected(program_ + " does not put our resolver first into " + path_);
}

std::expected<void, std::string> ResolvconfDns::add(const DnsPlan& plan, const std::string& record) const {
  const std::string input = "nameserver " + plan.resolver.to_string() + "\n";
  // -x: no other server beside it, -m 0: in front of all others.
  const Arguments options =
      is_openresolv(program_) ? Arguments{"-a", record, "-m", "0", "-x"} : Arguments{"-a", record};
  // A daemon that is killed here leaves a program behind that adds the record all the same: the watchdog takes it away
  // once that one has ended, not before.
  const auto lock = journal_.hold();
  if (!lock) return std::unexpected(lock.error());
  const auto done = run(program_, options, input, lock->fd());
  if (!done) return std::unexpected(done.error());
  return {};
}

std::expected<void, std::string> ResolvconfDns::remove() {
  const auto done = journal_.play_back(owner_);
  if (!done) return std::unexpected(done.error());
  return {};
}

std::vector<IpAddress> ResolvconfDns::upstream(const DnsPlan& plan) {
  // Both list all records, also those that an exclusive one hides.
  const auto records = run(program_, {"-l"});
  std::vector<IpAddress> servers = ResolvConf::parse(records.value_or(std::string{})).servers;
  std::erase(servers, plan.resolver);
  return servers.empty() ? before_ : servers;
}

std::expected<bool, std::string> undo_resolvconf(const JournalEntry& entry, int lock) {
  // A record that is not there (after a reboot) makes some versions fail, and that is fine. A service manager that ends
  // all that the daemon has started also ends this program, but not the watchdog, which tries again.
  std::expected<std::string, std::string> removed;
  for (unsigned tries = 0; tries < kTriesMax; ++tries) {
    removed = run(entry.program, {"-d", entry.record}, {}, lock);
    const auto records = run(entry.program, {"-l"});
    if (removed || !records || !names_server(*records, entry.resolver)) break;
    if (tries + 1 == kTriesMax) return std::unexpected(removed.error());
  }
  if (!names_server(text_of(entry.file.path), entry.resolver)) return removed.has_value();
  return run(entry.program, {"-u"}, {}, lock).has_value();
}

}  // namespace postern::client
