// One run of the simulation: events one after another, and after each the world compared with the reference model.
//
// What is checked, always: a flow whose permission has ended is closed, and no new one reaches a target, within one
// second where a control channel is up (at the end of the lease otherwise). After each event, within a bounded time:
// who can open a TCP connection to what is what the model says; flows that nothing has ended are alive and carry every
// byte. At the end: nothing is left behind in any core.
//
// The model answers yes, no, or unknown: the last where the specification leaves it open, for a client or connector
// that is cut off from the controller and has not the newest state. scenario.cpp runs; checks.cpp compares; events.cpp
// acts.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "sim/model.hpp"
#include "sim/world.hpp"

namespace postern::sim {

/// For the test of the test: something that the model is told and the world is not.
enum class Lie : std::uint8_t { None, GrantsInModelOnly, RevokesInModelOnly };

struct ScenarioOptions {
  WorldOptions world;
  std::size_t events_max = 40;
  /// Every event goes to standard error as it happens.
  bool verbose = false;
  Lie lie = Lie::None;
};

class Scenario {
 public:
  Scenario(const ScenarioOptions& options, Chooser& chooser);

  /// Throws Violation with what went wrong; history() says what led there.
  void run();
  [[nodiscard]] const std::vector<std::string>& history() const { return history_; }
  [[nodiscard]] World& world() { return world_; }
  [[nodiscard]] std::uint64_t probes() const { return probes_; }
  [[nodiscard]] std::uint64_t unknowns() const { return unknowns_; }
  [[nodiscard]] std::uint64_t long_flows() const { return long_flows_; }

 private:
  enum class Expected : std::uint8_t { Yes, No, Unknown };
  /// Client, target host, port class.
  struct Pair {
    std::size_t client = 0;
    std::string host;
    PortClass ports = PortClass::Low;
    auto operator<=>(const Pair&) const = default;
  };
  struct Permission {
    std::optional<Model::Answer> answer;
    Instant since;  ///< when it became so
  };
  struct Flow {
    Pair pair;
    std::uint64_t app = 0;
    bool is_probe = false;
    std::uint64_t client_process = 0;
    bool may_end = false;                   ///< something happened that may end it: it need not live any more
    std::optional<std::size_t> instance{};  ///< once it has reached its target
    std::uint64_t instance_process = 0;
    bool target_open = false;
    std::uint64_t progress = 0;
    std::optional<Instant> cut_since{};
  };
  struct Agent {
    std::optional<Instant> last_healthy;
    std::uint64_t process = 0;    ///< at that time
    Instant came;                 ///< when this process was healthy for the first time
    bool channel_is_cut = false;  ///< by a reset that says nothing of its process; until it is back
  };

  // scenario.cpp
  void set_up();
  void note(std::string what);
  void pass(Duration time);
  void tick();
  void finish();
  std::uint16_t start_long_flow(const Pair& pair);
  enum class Bulk : std::uint8_t { Never, Maybe };
  [[nodiscard]] std::uint16_t next_port(PortClass ports, Bulk bulk);
  void handle_target_opened(std::size_t instance, std::uint16_t port);
  void handle_target_ended(std::size_t instance, std::uint16_t port);
  [[nodiscard]] std::string name_of(const Pair& pair) const;

  // checks.cpp
  void follow_permissions();
  void follow_health();
  [[nodiscard]] static bool was_healthy(const std::shared_ptr<ControlAgent>& agent, Instant since, Instant now);
  /// Whether the end of this permission must have reached those who enforce it.
  [[nodiscard]] bool must_be_closed(const Pair& pair, std::size_t instance) const;
  [[nodiscard]] bool has_path(std::size_t client, const Instance& instance) const;
  [[nodiscard]] Expected expected(const Pair& pair) const;
  [[nodiscard]] Expected expected_if_cut_off(const Pair& pair, const Permission& permission) const;
  void check_flows_permitted();
  void check_reachable();
  [[nodiscard]] std::vector<Pair> probe(const std::vector<Pair>& pairs);
  void check_long_flows();
  [[noreturn]] void throw_about(const std::string& what, const Flow& flow) const;
  [[nodiscard]] std::string describe(std::size_t client) const;
  void release_doubtful_flows();
  void release_flows_cut_off();
  [[nodiscard]] bool may_be_taken_for_ended(const Flow& flow) const;
  void wait_for_agents();
  void check_bounds() const;

  // events.cpp
  using Action = void (Scenario::*)();
  void act();
  void grant_or_revoke();
  void change_membership();
  void switch_user();
  void change_resource();
  void replace_device();
  void regenerate_tokens();
  void roam_client();
  void roam_connector();
  void reboot_nat();
  void switch_link();
  void worsen_link();
  void sleep_or_wake();
  void cut_control();
  void restart_client();
  void restart_connector();
  void restart_server();
  void switch_server();
  void jump_clock();
  void restart_relay();
  void switch_relay();
  void open_flow();
  void pass_time();
  void heal();
  void create_resource(const std::string& name);
  void grant_at_first();
  [[nodiscard]] static std::string ports_text(const std::set<PortClass>& ports);

  ScenarioOptions options_;
  Chooser& chooser_;
  Model model_;
  std::vector<std::string> hosts_;
  std::vector<std::string> history_;
  std::map<Pair, Permission> permissions_;
  std::map<Pair, std::string> failures_;  ///< what applications saw last, of pairs that were wrong
  std::map<std::uint16_t, Flow> flows_;   ///< by destination port
  std::map<PortClass, std::uint16_t> ports_used_;
  std::vector<Agent> client_agents_;
  std::vector<Agent> instance_agents_;
  std::set<std::string> deleted_resources_;
  std::map<std::string, Model::Resource> known_resources_;
  Instant started_;
  std::optional<Instant> server_lost_;
  std::uint64_t resources_made_ = 0;
  std::uint64_t probes_ = 0;
  std::uint64_t unknowns_ = 0;
  std::uint64_t long_flows_ = 0;
  Duration tick_ = std::chrono::seconds(1);
  World world_;  ///< last: it goes first, while what its events touch is still there
};

/// What a run was like, for comparison and for people.
struct Outcome {
  std::uint64_t digest = 0;
  std::uint64_t probes = 0;
  std::uint64_t unknowns = 0;
  std::uint64_t long_flows = 0;
  std::uint64_t datagrams = 0;
  std::uint64_t turns = 0;
  Duration virtual_time{};
  std::vector<std::string> history;
  std::string violation;  ///< empty: all was well
};

/// The run of this seed: the same at each call.
[[nodiscard]] Outcome run_seed(std::uint64_t seed, std::size_t events_max, bool verbose = false);
/// A run in which the model was lied to.
[[nodiscard]] Outcome run_with_lie(Lie lie);
/// The run that these bytes choose.
[[nodiscard]] Outcome run_bytes(ByteView bytes, std::size_t events_max);

}  // namespace postern::sim
