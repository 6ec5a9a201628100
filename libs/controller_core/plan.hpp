// A change set in the making: what one command changes, with its audit entries and the revocations that follow from it.
//
// The model is only read. Ids and policy versions are drawn from counters that run ahead of the model, so that two
// plans never draw the same, even when one of them is never committed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/random.hpp"
#include "controller_core/controller.hpp"
#include "controller_core/model_state.hpp"

namespace postern::controller {

/// The next id and policy version to be given out.
struct Counters {
  std::uint64_t next_id = 1;
  std::uint64_t policy_version = 1;
};

class Plan {
 public:
  Plan(const ModelState& model, Counters& counters, RandomSource& random, const CommandContext& context,
       const ControllerConfig& config, const ControllerKeys& keys)
      : model_(model), counters_(counters), random_(random), context_(context), config_(config), keys_(keys) {}

  [[nodiscard]] const ModelState& model() const { return model_; }
  [[nodiscard]] RandomSource& random() { return random_; }
  [[nodiscard]] WallTime now() const { return context_.now; }
  [[nodiscard]] const ControllerKeys& keys() const { return keys_; }

  [[nodiscard]] std::uint64_t draw_id();
  void upsert(Record record) { changes_.changes.emplace_back(Upsert{std::move(record)}); }
  void remove(Record record) { changes_.changes.emplace_back(Remove{std::move(record)}); }
  /// `before` and `after` are JSON, empty where there is none.
  void audit(std::string_view action, std::string subject, std::string before, std::string after);
  /// Leases that are signed from now on have a version that no lease had before.
  void raise_policy_version();

  /// Leases of the past are void for the user, for the device.
  void revoke(model::UserId user);
  void revoke(model::DeviceId device);
  /// For edges from this user to `lost`; beyond kEdgesPerUserMax one record voids all the leases of the user.
  void revoke(model::UserId user, const std::set<model::ResourceId>& lost);

  /// The change set with the Network's counters in it, and without revocations that have had their time.
  [[nodiscard]] CommandResult finish(std::uint64_t id, std::vector<std::string> notes = {});

  /// More lost edges than this are one record for the whole user: records are part of every full update.
  static constexpr std::size_t kEdgesPerUserMax = 16;

 private:
  void add_revocation(RevocationRecord record);

  const ModelState& model_;
  Counters& counters_;
  RandomSource& random_;
  const CommandContext& context_;
  const ControllerConfig& config_;
  const ControllerKeys& keys_;
  ChangeSet changes_;
  bool counters_changed_ = false;
};

}  // namespace postern::controller
