// The database of a server: SQLite in one file, and nothing acknowledged is ever lost.
//
// The model lives in memory (libs/controller_core); the store keeps its records. A ChangeSet is committed in one
// transaction (WAL, synchronous=FULL) before anybody hears of it, so after kill -9 the file holds exactly the change
// sets whose commit() returned, and perhaps one more whose answer was not given yet. Audit entries are committed with
// the change that they tell of; flow records are appended apart from it.
//
// Every table has the Network in its key and no statement can be written without one. Migrations are the numbered files
// of schema/migrations, embedded in the program. At open() an older file is copied first (FILE.before-N), migrated step
// by step, each in a transaction that ends with a check of the schema's hash against a fresh database, and put back
// from the copy when a step fails.
//
// A Store belongs to one thread. A lock file (FILE.lock, flock) keeps a second server off; reading with the sqlite3
// program stays possible.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.hpp"
#include "controller_core/records.hpp"
#include "model/ids.hpp"

namespace postern::runtime {

enum class StoreErrorKind : std::uint8_t {
  NotFound,      ///< no such file, and OpenMode::Existing
  Exists,        ///< the file is there, and OpenMode::CreateNew
  Unreadable,    ///< permission, a directory, no such folder
  ReadOnly,      ///< the file or its file system cannot be written
  Locked,        ///< another process has it
  Corrupt,       ///< damaged, or not a database of ours
  NewerVersion,  ///< written by a newer Postern
  Migration,     ///< a step failed; the file is as it was before
  Conflict,      ///< a change contradicts what is stored (a name taken twice, a thing that does not exist)
  Full,          ///< no space left
  Io,            ///< everything else that the disk or SQLite reports
};

struct StoreError {
  StoreErrorKind kind;
  std::string message;  ///< one sentence for people: what, why, what to do
};

/// One step of the schema. `number` grows by one from 1.
struct Migration {
  std::uint32_t number = 0;
  std::string_view name;  ///< file name, for messages
  std::string_view sql;
};
/// Those that were embedded at build.
[[nodiscard]] std::span<const Migration> embedded_migrations();

enum class OpenMode : std::uint8_t { Existing, CreateNew, CreateIfMissing };

struct StoreOptions {
  OpenMode mode = OpenMode::CreateIfMissing;
  Duration busy_timeout = std::chrono::seconds(5);
  /// Flow records: at either bound the oldest go.
  std::chrono::days flow_age_max{30};
  std::uint64_t flow_rows_max = 1'000'000;
  std::span<const Migration> migrations = embedded_migrations();
};

/// A flow that ended or was refused, as the connector reported it (wire FlowRecord).
struct FlowLogEntry {
  std::uint64_t number = 0;  ///< given by the store, grows
  WallTime at;               ///< when the server received it
  model::ConnectorId connector;
  model::UserId user;
  model::DeviceId device;
  model::ResourceId resource;
  std::string target;
  std::uint32_t refusal = 0;  ///< wire RefusalReason, 0 for a flow that was opened
  std::uint64_t bytes_to_target = 0;
  std::uint64_t bytes_from_target = 0;
  WallTime started_at;
  std::uint64_t duration_ms = 0;
  std::uint64_t policy_version = 0;
  std::string path;
  bool operator==(const FlowLogEntry&) const = default;
};

struct StoredAuditEntry {
  std::uint64_t number = 0;
  controller::AuditEntry entry;
};

class Store {
 public:
  [[nodiscard]] static std::expected<Store, StoreError> open(const std::filesystem::path& file,
                                                             const StoreOptions& options = {});
  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  ~Store();

  /// All Networks of this file, by id.
  [[nodiscard]] std::expected<std::vector<controller::NetworkRecord>, StoreError> networks() const;
  /// Every record of a Network (its NetworkRecord first, things before what refers to them); empty when there is none.
  [[nodiscard]] std::expected<std::vector<controller::Record>, StoreError> load(model::NetworkId network) const;
  /// All of it or nothing. A new Network is made by committing its NetworkRecord. `policy_version` and `next_id` of a
  /// stored Network never go back, in whatever order change sets arrive.
  [[nodiscard]] std::expected<void, StoreError> commit(model::NetworkId network, const controller::ChangeSet& changes);

  /// Newest first, entries with a number below `before` (0: from the newest), at most `count`.
  [[nodiscard]] std::expected<std::vector<StoredAuditEntry>, StoreError> audit(model::NetworkId network,
                                                                               std::size_t count,
                                                                               std::uint64_t before = 0) const;
  /// One transaction for the batch; older records go when a bound is passed.
  [[nodiscard]] std::expected<void, StoreError> append_flows(model::NetworkId network,
                                                             std::span<const FlowLogEntry> entries);
  [[nodiscard]] std::expected<std::vector<FlowLogEntry>, StoreError> flows(model::NetworkId network, std::size_t count,
                                                                           std::uint64_t before = 0) const;

  /// A consistent copy while the server runs. `target` must not exist.
  [[nodiscard]] std::expected<void, StoreError> backup(const std::filesystem::path& target) const;
  [[nodiscard]] std::uint32_t schema_version() const;

 private:
  class Impl;
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace postern::runtime
