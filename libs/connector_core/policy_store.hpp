// What the controller told this connector: Resources, verification keys, revocations, the knock key.
#pragma once

#include <cstdint>
#include <optional>

#include "connector_core/revocations.hpp"
#include "identity/tokens.hpp"
#include "policy/resource_table.hpp"
#include "schema/control.pb.h"

namespace postern::connector {

enum class UpdateOutcome : std::uint8_t {
  Applied,
  /// A delta that does not continue what is held; nothing was changed: ask for a full update.
  Gap,
};

class PolicyStore {
 public:
  /// Against a broken controller; what goes over it is left out and counted.
  static constexpr std::size_t kResourcesMax = 65'536;

  [[nodiscard]] UpdateOutcome apply(const wire::ConnectorUpdate& update, WallTime now);

  [[nodiscard]] const policy::ResourceTable& table() const { return table_; }
  [[nodiscard]] const identity::KeySet& keys() const { return keys_; }
  [[nodiscard]] const Revocations& revocations() const { return revocations_; }
  [[nodiscard]] std::uint64_t version() const { return version_; }
  /// False until the first full update.
  [[nodiscard]] bool is_loaded() const { return loaded_; }
  [[nodiscard]] std::uint64_t malformed_entries() const { return malformed_; }

 private:
  void upsert(const wire::Resource& entry);
  void drop_missing(const wire::ConnectorUpdate& full);
  void replace_keys(const wire::ConnectorUpdate& update);

  policy::ResourceTable table_;
  identity::KeySet keys_;
  Revocations revocations_;
  std::uint64_t version_ = 0;
  std::uint64_t malformed_ = 0;
  bool loaded_ = false;
};

}  // namespace postern::connector
