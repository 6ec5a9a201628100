#include "services/client/cli_proxy.hpp"

#include <signal.h>
#include <sys/poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <ostream>

#include "runtime/loop/descriptor.hpp"
#include "runtime/os/files.hpp"
#include "services/client/daemon_line.hpp"
#include "services/client/json_fields.hpp"
#include "services/client/text_table.hpp"

namespace postern::client {

namespace {

using config::ExitCode;
using nlohmann::json;

std::string variable(const config::Variables& environment, const char* name) {
  const auto found = environment.find(name);
  return found == environment.end() ? "" : found->second;
}

/// The one beside this program, else the one that the shell would find.
std::string daemon_program_path() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto beside = self.parent_path() / "posternd";
  return !error && ::access(beside.c_str(), X_OK) == 0 ? beside.string() : "posternd";
}

/// Where posternd says that it is ready (sd_notify(3)); the kernel chooses an abstract name.
struct ReadyLine {
  runtime::Descriptor fd;
  std::string name;
};

std::optional<ReadyLine> make_ready_line() {
  ReadyLine line{runtime::Descriptor(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)), {}};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socklen_t size = sizeof address;
  if (::bind(line.fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)) != 0 ||
      ::getsockname(line.fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return std::nullopt;
  }
  line.name = "@" + std::string(address.sun_path + 1, size - offsetof(sockaddr_un, sun_path) - 1);
  return line;
}

/// The daemon as a child that ends with us.
class OwnDaemon {
 public:
  OwnDaemon(const std::vector<std::string>& arguments, const ReadyLine& ready) {
    std::vector<char*> argv;
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
      if (::getppid() != parent) ::_exit(config::to_status(ExitCode::Failure));
      ::setenv("NOTIFY_SOCKET", ready.name.c_str(), 1);
      ::execvp(argv[0], argv.data());
      const std::string text = std::string("postern: cannot start ") + argv[0] + ": " + std::strerror(errno) + "\n";
      (void)!::write(STDERR_FILENO, text.data(), text.size());
      ::_exit(config::to_status(ExitCode::Failure));
    }
    pidfd_ = runtime::Descriptor(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  }
  ~OwnDaemon() {
    if (pid_ <= 0) return;
    stop();
    (void)wait();
  }
  OwnDaemon(const OwnDaemon&) = delete;
  OwnDaemon& operator=(const OwnDaemon&) = delete;

  /// False when it has ended instead; it has said why itself.
  [[nodiscard]] bool await_ready(const ReadyLine& ready) const {
    std::array<pollfd, 2> waits{{{ready.fd.get(), POLLIN, 0}, {pidfd_.get(), POLLIN, 0}}};
    while (::poll(waits.data(), waits.size(), -1) < 0 && errno == EINTR) {
    }
    return (waits[0].revents & POLLIN) != 0;
  }
  void stop() const { ::kill(pid_, SIGTERM); }
  /// Its exit status.
  [[nodiscard]] int wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  runtime::Descriptor pidfd_;
};

std::atomic<pid_t> stopped_with_us = -1;

/// SIGTERM for us is SIGTERM for the daemon; its end is ours.
void pass_signals_to(pid_t daemon) {
  stopped_with_us = daemon;
  struct sigaction action {};
  action.sa_handler = [](int) {
    const pid_t pid = stopped_with_us;
    if (pid > 0) ::kill(pid, SIGTERM);
  };
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(number, &action, nullptr);
}

std::expected<void, Problem> prepare_folders(const std::string& state, const std::string& socket) {
  if (state.empty()) {
    return std::unexpected(Problem{ExitCode::Usage, "neither XDG_STATE_HOME nor HOME is set: give --state DIR"});
  }
  for (const std::string& folder : {state, std::filesystem::path(socket).parent_path().string()}) {
    const auto made = runtime::make_directories(folder, 0700);
    if (!made) return std::unexpected(Problem{ExitCode::StateUnusable, made.error().text});
  }
  return {};
}

std::vector<std::string> daemon_arguments(const config::Settings& settings, const std::string& state,
                                          const std::string& socket) {
  std::vector<std::string> arguments = {daemon_program_path(),
                                        "--tun=none",
                                        "--resolv-conf=none",
                                        "--state=" + state,
                                        "--socket=" + socket,
                                        "--proxy=" + settings.text("listen"),
                                        "--log-level=" + settings.text("log-level")};
  const std::string& password = settings.text("password-file");
  if (!password.empty()) arguments.push_back("--proxy-password-file=" + password);
  return arguments;
}

/// Signs in where nobody is; returns the exit status.
int ensure_signed_in(const CliWorld& world, const config::Settings& settings, const json& status,
                     const std::string& socket) {
  if (field(status, "server").is_object()) return 0;
  if (!settings.arguments().empty()) return sign_in_at(world, settings, socket);
  return fail(world, {ExitCode::SignInNeeded,
                      "nobody is signed in here: run `postern proxy URL` with the enrolment URL of your network"});
}

}  // namespace

std::string own_state(const config::Variables& environment) {
  const std::string state = variable(environment, "XDG_STATE_HOME");
  if (state.starts_with('/')) return state + "/postern";
  const std::string home = variable(environment, "HOME");
  return home.empty() ? "" : home + "/.local/state/postern";
}

std::string own_socket(const config::Variables& environment) {
  const std::string folder = variable(environment, "XDG_RUNTIME_DIR");
  return (folder.starts_with('/') ? folder + "/postern" : own_state(environment)) + "/posternd.sock";
}

config::Command proxy_command() {
  const auto option = [](std::string name, std::string sentence, std::string value_name, std::string value) {
    config::Option result;
    result.name = std::move(name);
    result.sentence = std::move(sentence);
    result.value_name = std::move(value_name);
    result.default_value = std::move(value);
    return result;
  };
  config::Command proxy;
  proxy.name = "proxy";
  proxy.sentence = "Runs a SOCKS5 and HTTP proxy to your resources, without rights on this machine, until Ctrl-C.";
  proxy.arguments = {{"URL", "The enrolment URL, the first time: signs in.", config::Presence::Optional}};
  config::Option listen =
      option("listen", "Where it listens: ADDRESS:PORT, or a port of 127.0.0.1.", "ADDRESS", "127.0.0.1:1080");
  listen.environment = {"POSTERN_PROXY"};
  config::Option quiet;
  quiet.name = "no-browser";
  quiet.sentence = "Only print the page and the code, never open a browser.";
  quiet.kind = config::ValueKind::Switch;
  proxy.options = {
      std::move(listen),
      option("password-file", "File with one line USER:PASSWORD that programs have to give.", "PATH", ""),
      option("state", "Folder for device key and sign-in; else $XDG_STATE_HOME/postern.", "DIR", ""),
      option("socket", "Where `postern` finds this proxy; else $XDG_RUNTIME_DIR/postern/posternd.sock.", "PATH", ""),
      option("fingerprint", "SHA-256 of the server's root key, for a server with its own CA.", "DIGEST", ""),
      option("log-level", "trace, debug, info, warn, error or off.", "LEVEL", "warn"),
      std::move(quiet)};
  return proxy;
}

int run_proxy(const CliWorld& world, const config::Settings& settings) {
  const std::string& state = settings.text("state").empty() ? own_state(world.environment) : settings.text("state");
  const std::string& socket = settings.text("socket").empty() ? own_socket(world.environment) : settings.text("socket");
  if (const auto made = prepare_folders(state, socket); !made) return fail(world, made.error());
  const auto ready = make_ready_line();
  if (!ready)
    return fail(world, {ExitCode::Failure, std::string("no local socket can be made: ") + std::strerror(errno)});
  OwnDaemon daemon(daemon_arguments(settings, state, socket), *ready);
  pass_signals_to(daemon.pid());
  if (!daemon.await_ready(*ready)) return daemon.wait();
  Request request;
  request.type = RequestType::Status;
  const auto answer = DaemonLine::ask(socket, request);
  if (!answer) return fail(world, answer.error());
  const json& status = field(*answer, "status");
  const int signed_in = ensure_signed_in(world, settings, status, socket);
  if (signed_in != 0) return signed_in;
  const std::string address = text_field(field(status, "proxy"), "address");
  world.out << "SOCKS5 and HTTP proxy on " << address << ", until Ctrl-C. For example:\n"
            << "  curl --proxy socks5h://" << address << " http://NAME\n"
            << "  ssh -o ProxyCommand='postern nc %h %p' NAME" << std::endl;
  return daemon.wait();
}

}  // namespace postern::client
