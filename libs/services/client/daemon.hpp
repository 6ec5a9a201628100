// posternd: who is signed in, whether it should be connected, and the people who ask over the socket.
//
// One data thread (the loop) owns everything here. The control channel has a thread of its own inside the engine; a
// sign-in and a look-up of the server's addresses run on short-lived threads that hand their result to the loop.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "runtime/loop/signals.hpp"
#include "runtime/os/files.hpp"
#include "runtime/os/random.hpp"
#include "services/client/engine.hpp"
#include "services/client/ipc_protocol.hpp"
#include "services/client/ipc_server.hpp"
#include "services/client/proxy/proxy_server.hpp"
#include "services/client/sign_in.hpp"
#include "services/client/watchdog.hpp"

namespace postern::client {

struct DaemonConfig {
  std::string state_directory;
  std::string socket_path;
  std::string tun_name;     ///< empty: proxy mode, nothing on the host is changed
  std::string resolv_conf;  ///< empty: the host's DNS is left alone
  std::string version;
  runtime::LogConfig log;
  std::optional<SocketAddress> proxy{};  ///< where SOCKS5 and HTTP are spoken
  std::string proxy_password_file{};     ///< one line USER:PASSWORD; empty: nobody is asked
  runtime::Proxies proxies{};            ///< to the server
  bool maps_port = true;                 ///< the router is asked for a port, for direct paths
};

class Daemon final : public runtime::TurnParticipant {
 public:
  explicit Daemon(DaemonConfig config);
  ~Daemon() override;

  /// Runs until SIGTERM or SIGINT. The problem is why it could not start.
  [[nodiscard]] std::expected<void, Problem> run();

  void end_turn(Instant now) override;
  [[nodiscard]] std::optional<Instant> next_timeout() const override;

 private:
  [[nodiscard]] std::expected<void, Problem> prepare();
  [[nodiscard]] std::expected<void, Problem> load();
  void start_watchdog();
  [[nodiscard]] std::expected<void, Problem> start_proxy();

  // connection
  void connect();
  void start_engine();
  void stop_engine();
  void handle_ended(const EngineEnded& ended);
  void handle_dns(DnsReport report);
  void handle_looked_up(const std::vector<std::string>& addresses);
  void look_again(Instant now);
  /// Nothing when the server is reached without a proxy.
  [[nodiscard]] const runtime::HttpProxy* https_proxy() const;
  /// The name of the proxy on the way to the server; empty without one, or where it is given by address.
  [[nodiscard]] std::string proxy_name() const;
  /// Its addresses have to be known before there is a tunnel that might lead to them; then the engine starts.
  void find_proxy();
  void handle_proxy_found(const std::string& name, const std::vector<std::string>& addresses);
  struct LookedUp {
    std::string name;
    std::vector<std::string> addresses;
  };
  void handle_looked_again(const LookedUp& server, const LookedUp& proxy);
  [[nodiscard]] ClientStatus status() const;
  [[nodiscard]] ClientStatus connection_status() const;
  void add_datagram_drops(ClientStatus& status) const;

  // requests
  void handle_line(IpcConnection from, std::string_view line);
  void handle_closed(IpcConnection connection);
  void handle_explain(IpcConnection from, const Request& request);
  void handle_open(IpcConnection from, const Request& request);
  void handle_login(IpcConnection from, const Request& request);
  void handle_signed_in(std::expected<SignIn, Problem> result);
  void handle_logout(IpcConnection from);
  void handle_connect(IpcConnection from);
  void handle_disconnect(IpcConnection from);
  void tell_watchers();

  DaemonConfig config_;
  runtime::Logger log_;
  runtime::KernelRandom random_;
  BlockPool pool_;
  StateStore store_;
  Journal journal_;
  std::string owner_;
  std::optional<runtime::LockFile> lock_;
  runtime::EventLoop loop_;
  std::optional<runtime::SignalWatcher> signals_;
  std::optional<DnsKeeper> dns_;
  DnsReport dns_report_;
  std::optional<Watchdog> watchdog_;

  LocalStreams streams_{loop_, pool_};
  UdpAssociations associations_{loop_, pool_};
  std::unique_ptr<ProxyServer> proxy_;

  std::optional<SignIn> sign_in_;
  std::optional<identity::PrivateKey> key_;
  std::unique_ptr<Engine> engine_;
  std::vector<IpPrefix> avoid_;
  std::string trouble_;  ///< why there is no engine although there should be one
  std::optional<Instant> retry_at_;
  std::thread look_up_;
  std::optional<Instant> look_up_deadline_;
  bool looks_again_ = false;
  bool looks_for_proxy_ = false;
  std::vector<std::string> proxy_addresses_;
  std::optional<Instant> next_look_up_;

  std::optional<IpcServer> ipc_;
  SignInWorker worker_;
  std::optional<IpcConnection> login_from_;
  std::optional<identity::PrivateKey> login_key_;
  std::map<IpcConnection, std::string> watchers_;  ///< with what they were told last
  std::optional<Instant> next_watch_;
};

}  // namespace postern::client
