// The controller's core: agents that connect, sign, lie, repeat, fall silent and leave; commands of an admin in
// between; a store that commits, fails or waits.
//
// Holds: an update continues what the agent has, removes only what it had, and after the last one the agent has exactly
// what the model gives it (asked again by a second connection); nothing reaches a connection that was closed; only keys
// that were enrolled are welcomed; a command that is refused changes nothing; the number of unproven connections is
// bounded; after a restart from what was committed nobody is told more than before.
#include "controller_core/bench_test_util.hpp"
#include "fuzz.hpp"
#include "gtest_checks.hpp"

namespace {

using namespace postern;
using namespace postern::controller;
using namespace std::chrono_literals;
using fuzz::Choices;

constexpr std::size_t kAgents = 5;

class World {
 public:
  World() {
    for (std::size_t i = 0; i < kAgents; ++i) {
      agents_.push_back(
          i < 2 ? std::make_unique<FakeAgent>(bench_.new_key())
                : std::make_unique<FakeAgent>(bench_.enrolled_device(i == 3 ? "ben@example.org" : "ana@example.org")));
    }
    devices_ = bench_.stored.devices().size();
  }

  void step(Choices& choices) {
    FakeAgent& agent = *agents_[choices.below(kAgents)];
    switch (choices.below(12)) {
      case 0:
        if (!agent.open) bench_.connect(agent);
        return;
      case 1:
      case 2:
        return authenticate(agent, choices.u8());
      case 3: {
        if (!agent.open) return;
        wire::AgentMessage message;
        const ByteView bytes = choices.block();
        if (message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) bench_.send(agent, message);
        return;
      }
      case 4:
        if (agent.open) bench_.disconnect(agent);
        return;
      case 5:
      case 6:
        if (agent.open) bench_.heartbeat(agent, {choices.flag() ? "relay1" : "relay2"});
        return;
      case 7:
        return bench_.advance(std::chrono::milliseconds(choices.u16()));
      case 8:
        return bench_.advance(std::chrono::minutes(choices.u8()));
      case 9:
        bench_.store_waits = (choices.u8() & 1) != 0;
        bench_.store_works = (choices.u8() & 1) == 0;
        return bench_.commit_pending();
      case 10:
        if (choices.u8() > 250) bench_.restart();
        return;
      default:
        return command(choices);
    }
  }
  /// Everybody is told what is missing, and then has what somebody new would be told.
  void finish() {
    bench_.store_waits = false;
    bench_.store_works = true;
    bench_.commit_pending();
    for (const auto& agent : agents_) {
      if (agent->open && agent->welcome) bench_.heartbeat(*agent);
    }
    bench_.advance(200ms);
    for (const auto& agent : agents_) {
      if (!agent->open || !agent->welcome || agent->welcome->connector_id() != 0 || agent->denied) continue;
      FakeAgent again(agent->key);
      bench_.authenticate(again, wire::AGENT_ROLE_CLIENT);
      bench_.advance(200ms);
      FUZZ_CHECK(again.welcome.has_value());
      FUZZ_CHECK(same_keys(agent->resources, again.resources) && same_keys(agent->leases, again.leases));
      FUZZ_CHECK(same_keys(agent->instances, again.instances));
      // (a device has one connection: the older one was closed, or still hears)
      if (again.open) bench_.disconnect(again);
    }
  }

 private:
  template <typename Map>
  static bool same_keys(const Map& left, const Map& right) {
    return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                      [](const auto& a, const auto& b) { return a.first == b.first; });
  }
  void authenticate(FakeAgent& agent, std::uint8_t how) {
    if (!agent.open) bench_.connect(agent);
    const bool is_connector = &agent == agents_[0].get() || &agent == agents_[1].get();
    auto role = is_connector ? wire::AGENT_ROLE_CONNECTOR : wire::AGENT_ROLE_CLIENT;
    auto message = bench_.signed_request(agent, role, (how & 1) != 0 ? "other" : agent.network);
    auto& request = *message.mutable_authenticate();
    if ((how & 2) != 0) request.mutable_signature()->back() ^= 1;
    if (is_connector && (how & 4) == 0) request.set_refresh_token(home_.tokens.refresh_token);
    if ((how & 8) != 0) request.set_refresh_token("ptr1_wrong");
    if ((how & 16) != 0) request.set_role(wire::AGENT_ROLE_RELAY);
    if ((how & 32) != 0) request.set_route_id(std::string(how % 16U, 'r'));
    if ((how & 64) != 0) request.set_hostname(std::string(how * 20U, 'h'));
    if ((how & 128) != 0) request.set_known_version(how);
    const bool was_welcomed = agent.welcome.has_value();
    bench_.send(agent, message);
    if (!was_welcomed && (how & 3) != 0) FUZZ_CHECK(!agent.welcome.has_value());
  }
  void command(Choices& choices) {
    constexpr std::array<const char*, 4> kUsers = {"ana@example.org", "ben@example.org", "admin@example.org", "nobody"};
    constexpr std::array<const char*, 3> kResources = {"nginx", "ssh", "extra"};
    constexpr std::array<const char*, 3> kGroups = {"web", "Everyone", "none"};
    const std::string user = kUsers[choices.below(kUsers.size())];
    const std::string resource = kResources[choices.below(kResources.size())];
    const std::string group = kGroups[choices.below(kGroups.size())];
    const std::string text(as_text(choices.take(choices.below(24))));
    switch (choices.below(14)) {
      case 0:
        return run(CreateResource{"extra", "flat", text, {}, ""});
      case 1:
        return run(UpdateResource{resource, {}, text, {}, {}});
      case 2:
        return run(UpdateResource{resource, {}, {}, {}, text});
      case 3:
        return run(DeleteResource{resource});
      case 4:
      case 5:
        return run(GrantAccess{resource, group, ""});
      case 6:
        return run(GrantAccess{resource, "", user});
      case 7:
        return run(RevokeAccess{resource, group, ""});
      case 8:
        return run(AddToGroup{group, user});
      case 9:
        return run(RemoveFromGroup{group, user});
      case 10:
        return run(SetUserState{user, choices.flag() ? UserState::Active : UserState::Disabled});
      case 11:
        return run(DeleteDevice{std::to_string(choices.u8())});
      case 12:
        return run(UpdateResource{resource, text, {}, std::vector<std::string>{text}, {}});
      default:
        if (choices.u8() > 200) run(GenerateConnectorTokens{"pi"});
    }
  }
  void run(const Command& wanted) {
    // Change sets are applied in the order of their planning: what waits is committed first.
    if (bench_.store_waits) bench_.commit_pending();
    const auto planned = bench_.controller->plan(wanted, bench_.context());
    if (!planned) {
      FUZZ_CHECK(!planned.error().message.empty());
      return;
    }
    if (const auto& tokens = planned->tokens) home_.tokens = *tokens;
    (void)bench_.run(wanted);
  }

  Bench bench_;
  HomeNetwork home_{bench_};
  std::vector<std::unique_ptr<FakeAgent>> agents_;
  std::size_t devices_ = 0;
};

}  // namespace

std::vector<Bytes> postern::fuzz::seeds() {
  // Connector 0 and laptop 2 come, the connector is bound, the laptop is told.
  const Bytes up = {0, 1, 0, 0, 5, 1, 2, 1, 0, 7, 7, 0, 200};
  Script changes;
  changes.raw(up).raw(Bytes{0, 11, 1, 0, 1, 0, 4, 0, 7, 0, 200, 0, 11, 0, 0, 0, 0, 7, 0, 7, 0, 200});
  Script ends;
  ends.raw(up).raw(
      Bytes{0, 4, 0, 7, 0, 200, 2, 4, 2, 1, 32, 0, 8, 200, 2, 8, 250, 0, 11, 0, 0, 0, 0, 10, 0, 0, 7, 0, 100});
  Script failing;
  failing.raw(
      Bytes{0, 9, 1, 1, 0, 1, 0, 0, 9, 0, 0, 1, 1, 0, 1, 1, 12, 2, 1, 2, 3, 1, 1, 4, 1, 16, 0, 10, 255, 0, 1, 0});
  wire::AgentMessage record;
  record.mutable_flow_record()->set_user_id(2);
  record.mutable_flow_record()->set_target("192.168.1.20:80");
  Script flows;
  flows.raw(up).u8(0).u8(3).block(record.SerializeAsString());
  return {changes.bytes(), ends.bytes(), failing.bytes(), flows.bytes()};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  postern::fuzz::expectations_abort();
  Choices choices({data, size});
  World world;
  for (int i = 0; i < 120 && !choices.empty(); ++i) world.step(choices);
  world.finish();
  return 0;
}
