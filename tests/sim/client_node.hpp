// A client's host: the client core joined as posternd's engine joins it, and applications on a small TCP of their own.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "client_core/client.hpp"
#include "sim/control_agent.hpp"
#include "tcp/scripted_kernel_test_util.hpp"

namespace postern::sim {

/// One TCP connection that an application asked for.
struct App {
  enum class Stage : std::uint8_t { Resolving, Connecting, Connected, Failed };
  std::uint64_t number = 0;
  std::string host;  ///< name or address
  std::uint16_t port = 0;
  std::uint64_t upload = 0;    ///< in all; FIN follows
  std::uint64_t produced = 0;  ///< so far
  Stage stage = Stage::Resolving;
  std::string failure;  ///< "refused", "unreachable", "no such name", "reset"
  unsigned questions = 0;
  Instant next_question{};
  std::optional<tcp::FlowTuple> tuple;
  std::unique_ptr<tcp::test::ScriptedKernel> kernel;
  [[nodiscard]] bool is_connected() const { return stage == Stage::Connected; }
  [[nodiscard]] bool has_failed() const { return stage == Stage::Failed; }
  [[nodiscard]] bool is_over() const { return has_failed() || (kernel && kernel->is_done()); }
};

class ClientNode final : public Node {
 public:
  ClientNode(Fabric& fabric, ControllerNode& server, LanId lan);
  ~ClientNode() override;

  /// A new device, made by signing in; used from the next start() on.
  void set_key(identity::PrivateKey key) { key_ = std::move(key); }
  void start();
  void stop();
  [[nodiscard]] bool is_running() const { return process_ != nullptr; }
  [[nodiscard]] bool is_signed_out() const { return signed_out_; }
  /// Nothing runs, and no packet comes or goes.
  void sleep();
  void wake_up();
  [[nodiscard]] bool is_asleep() const { return asleep_; }
  /// The host noticed that its addresses changed.
  void handle_network_change();

  App& connect(const std::string& host, std::uint16_t port, std::uint64_t upload, std::uint64_t produced);
  /// The application ends; what is left of its connection is reset.
  void give_up(std::uint64_t number);
  [[nodiscard]] App* find(std::uint64_t number);
  void produce(App& app, std::uint64_t bytes);

  [[nodiscard]] HostId host() const { return host_; }
  [[nodiscard]] const std::shared_ptr<ControlAgent>& control() const { return control_; }
  [[nodiscard]] std::uint64_t process_number() const { return processes_; }
  /// How often the engine had to start afresh because an update did not fit.
  [[nodiscard]] unsigned gaps() const { return gaps_; }
  [[nodiscard]] client::ClientStatus status() const;
  [[nodiscard]] std::size_t pool_in_use() const;

 protected:
  void turn(Instant now) override;
  [[nodiscard]] std::optional<Instant> next_timeout() const override;

 private:
  struct Process;

  void start_control();
  void receive(const SocketAddress& from, MutableBytes bytes, std::size_t stride);
  void handle_down(const Down& down);
  [[nodiscard]] bool exchange(Instant now);
  void handle_outputs();
  // applications
  void run_app(Instant now, App& app);
  void ask(Instant now, App& app);
  void begin(App& app, const IpAddress& to);
  void handle_packet(Instant now, const tcp::test::Seen& seen);
  void handle_answer(const tcp::test::Seen& seen);
  void handle_unreachable(const tcp::test::Seen& seen);
  void handle_segment(Instant now, const tcp::test::Seen& seen);
  void answer_stray(Instant now, const tcp::test::Seen& seen);
  void give_tun(Instant now, const tcp::FlowTuple& tuple, const tcp::test::KernelSegment& segment);
  [[nodiscard]] static std::uint16_t local_port(const App& app);

  ControllerNode& server_;
  HostId host_ = 0;
  identity::PrivateKey key_;
  bool asleep_ = false;
  bool signed_out_ = false;
  unsigned gaps_ = 0;
  std::uint64_t processes_ = 0;
  std::uint64_t next_app_ = 1;
  std::map<std::uint64_t, App> apps_;
  std::map<std::uint16_t, std::uint64_t> by_port_;
  std::unique_ptr<Process> process_;
  std::shared_ptr<ControlAgent> control_;
};

}  // namespace postern::sim
