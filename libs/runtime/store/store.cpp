#include "runtime/store/store.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "runtime/os/files.hpp"
#include "runtime/store/migrate.hpp"
#include "runtime/store/rows.hpp"
#include "runtime/store/sqlite.hpp"

namespace postern::runtime {

namespace {

namespace fs = std::filesystem;

std::unexpected<StoreError> refuse(StoreErrorKind kind, std::string message) {
  return std::unexpected(StoreError{kind, std::move(message)});
}

/// Whether the file may be opened in this mode, and an empty one (0600) where it is to be made.
std::expected<void, StoreError> prepare_file(const fs::path& file, OpenMode mode) {
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  const std::string name = file.string();
  if (fs::exists(status)) {
    if (mode == OpenMode::CreateNew) {
      return refuse(StoreErrorKind::Exists, name + " exists already: remove it first, or give another path");
    }
    if (!fs::is_regular_file(status))
      return refuse(StoreErrorKind::Unreadable, name + " is not a file: give the path of the database");
    if (::access(file.c_str(), R_OK) != 0) {
      return refuse(StoreErrorKind::Unreadable, name + " cannot be read by this user: run as its owner");
    }
    if (::access(file.c_str(), W_OK) != 0) {
      return refuse(StoreErrorKind::ReadOnly,
                    name + " cannot be written by this user: run as its owner, on a writable file system");
    }
    // SQLite takes an empty file for a new database; one that should have something in it has lost it.
    if (mode == OpenMode::Existing && fs::file_size(file, error) == 0) {
      return refuse(StoreErrorKind::Corrupt, name + " is empty: bring back a backup");
    }
    return {};
  }
  if (status.type() == fs::file_type::none) {
    return refuse(StoreErrorKind::Unreadable,
                  name + " cannot be looked at: " + error.message() + "; run as the owner of its folder");
  }
  if (mode == OpenMode::Existing) {
    return refuse(StoreErrorKind::NotFound, "there is no database " + name + ": run `postern-server init` first");
  }
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) {
    const StoreErrorKind kind = errno == EROFS ? StoreErrorKind::ReadOnly : StoreErrorKind::Unreadable;
    return refuse(kind, "cannot make the database " + name + ": " + std::strerror(errno) +
                            "; the folder must exist and belong to this user");
  }
  ::close(fd);
  return {};
}

std::expected<LockFile, StoreError> lock(const fs::path& file) {
  auto held = LockFile::acquire(file.string() + ".lock");
  if (held) return std::move(*held);
  switch (held.error().kind) {
    case FileErrorKind::InUse:
      return refuse(StoreErrorKind::Locked, file.string() + " is in use by another server: stop it first");
    case FileErrorKind::NoPermission:
      return refuse(StoreErrorKind::ReadOnly, held.error().text);
    default:
      return refuse(StoreErrorKind::Io, held.error().text);
  }
}

bool configure(Database& database, Duration busy_timeout) {
  if (database.failed()) return false;
  sqlite3_busy_timeout(database.handle(),
                       static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(busy_timeout).count()));
  // Pages of a damaged file are looked at before they are believed, and no schema runs functions of its own.
  return database.execute(
      "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; "
      "PRAGMA foreign_keys = ON");
}

const char* const kAuditColumns = "number, at, actor, origin, action, subject, before_json, after_json";

StoredAuditEntry audit_of(const Row& row) {
  return {row.u64(0), {row.time(1), row.text(2), row.text(3), row.text(4), row.text(5), row.text(6), row.text(7)}};
}

FlowLogEntry flow_of(const Row& row) {
  FlowLogEntry entry;
  entry.number = row.u64(0);
  entry.at = row.time(1);
  entry.connector = row.id<model::ConnectorId>(2);
  entry.user = row.id<model::UserId>(3);
  entry.device = row.id<model::DeviceId>(4);
  entry.resource = row.id<model::ResourceId>(5);
  entry.target = row.text(6);
  entry.refusal = static_cast<std::uint32_t>(row.i64(7));
  entry.bytes_to_target = row.u64(8);
  entry.bytes_from_target = row.u64(9);
  entry.started_at = row.time(10);
  entry.duration_ms = row.u64(11);
  entry.policy_version = row.u64(12);
  entry.path = row.text(13);
  return entry;
}

/// Whether not even a page of the database would fit any more.
bool is_full(const fs::path& folder) {
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  return !error && space.available < 64 * 1024;
}

std::uint64_t upper_bound_of(std::uint64_t before) {
  constexpr auto kMax = static_cast<std::uint64_t>(INT64_MAX);
  return before == 0 || before > kMax ? kMax : before;
}

}  // namespace

StoreError store_error(const fs::path& file, const Database::Failure& failure) {
  const std::string name = file.string();
  const auto full = [&name] {
    return StoreError{StoreErrorKind::Full, "there is no space left for " + name + ": make room and try again"};
  };
  switch (failure.code & 0xff) {
    case SQLITE_NOTADB:
      return {StoreErrorKind::Corrupt,
              name + " is not a database: give the path of Postern's own file, or bring back a backup"};
    case SQLITE_CORRUPT:
      return {StoreErrorKind::Corrupt, name + " is damaged (" + failure.text + "): bring back a backup"};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {StoreErrorKind::Locked, name + " is locked by another program: stop it and try again"};
    case SQLITE_READONLY:
      return {StoreErrorKind::ReadOnly, name + " cannot be written: look at its owner, its mode and its file system"};
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return {StoreErrorKind::Unreadable, name + " cannot be opened: look at its owner, its mode and its folder"};
    case SQLITE_FULL:
      return full();
    case SQLITE_CONSTRAINT:
      return {StoreErrorKind::Conflict, "the change contradicts what is stored (" + failure.text + ")"};
    case SQLITE_IOERR:
      // What lies beside the database (its log, its index in shared memory) does not say so itself.
      if (is_full(file.parent_path())) return full();
      [[fallthrough]];
    default:
      return {StoreErrorKind::Io, name + " could not be used: " + failure.text};
  }
}

class Store::Impl {
 public:
  Impl(fs::path path, const StoreOptions& wanted, LockFile held, std::unique_ptr<Database> opened)
      : file(std::move(path)), options(wanted), lock(std::move(held)), database(std::move(opened)) {}

  [[nodiscard]] std::unexpected<StoreError> failure() {
    return std::unexpected(store_error(file, database->take_failure()));
  }

  fs::path file;
  StoreOptions options;
  LockFile lock;
  std::unique_ptr<Database> database;
};

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

std::expected<Store, StoreError> Store::open(const fs::path& file, const StoreOptions& options) {
  if (auto prepared = prepare_file(file, options.mode); !prepared) return std::unexpected(prepared.error());
  auto held = lock(file);
  if (!held) return std::unexpected(held.error());
  auto database = std::make_unique<Database>(file.string(), SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX);
  if (!configure(*database, options.busy_timeout)) return std::unexpected(store_error(file, database->take_failure()));
  if (auto migrated = migrate(*database, file, options.migrations); !migrated) return std::unexpected(migrated.error());
  return Store(std::make_unique<Impl>(file, options, std::move(*held), std::move(database)));
}

std::expected<std::vector<controller::NetworkRecord>, StoreError> Store::networks() const {
  auto result = read_networks(*impl_->database);
  if (impl_->database->failed()) return impl_->failure();
  return result;
}

std::expected<std::vector<controller::Record>, StoreError> Store::load(model::NetworkId network) const {
  auto records = read_records(*impl_->database, network);
  if (impl_->database->failed()) return impl_->failure();
  if (!records) {
    return refuse(StoreErrorKind::Corrupt,
                  impl_->file.string() +
                      " has a resource that makes no sense, so somebody else has written it: bring back a backup");
  }
  return std::move(*records);
}

std::expected<void, StoreError> Store::commit(model::NetworkId network, const controller::ChangeSet& changes) {
  Database& database = *impl_->database;
  Transaction transaction(database);
  for (const controller::Change& change : changes.changes) {
    const auto* upsert = std::get_if<controller::Upsert>(&change);
    const controller::Record& record = upsert != nullptr ? upsert->record : std::get<controller::Remove>(change).record;
    const auto* own = std::get_if<controller::NetworkRecord>(&record);
    if (own != nullptr && own->id != network) {
      return refuse(StoreErrorKind::Conflict, "the change set of a Network names another Network");
    }
    upsert != nullptr ? put_record(database, network, record) : drop_record(database, network, record);
  }
  for (const controller::AuditEntry& entry : changes.audit) {
    database.run(
        "INSERT INTO audit (network_id, at, actor, origin, action, subject, before_json, after_json) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        network, entry.at, entry.actor, entry.origin, entry.action, entry.subject, entry.before, entry.after);
  }
  if (!transaction.commit()) return impl_->failure();
  return {};
}

std::expected<std::vector<StoredAuditEntry>, StoreError> Store::audit(model::NetworkId network, std::size_t count,
                                                                      std::uint64_t before) const {
  std::vector<StoredAuditEntry> result;
  impl_->database->query(
      std::string("SELECT ") + kAuditColumns +
          " FROM audit WHERE network_id = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3",
      [&](const Row& row) { result.push_back(audit_of(row)); }, network, upper_bound_of(before), std::uint64_t{count});
  if (impl_->database->failed()) return impl_->failure();
  return result;
}

std::expected<void, StoreError> Store::append_flows(model::NetworkId network, std::span<const FlowLogEntry> entries) {
  if (entries.empty()) return {};
  Database& database = *impl_->database;
  Transaction transaction(database);
  WallTime newest = entries.front().at;
  for (const FlowLogEntry& entry : entries) {
    newest = std::max(newest, entry.at);
    database.run(
        "INSERT INTO flow_log (network_id, at, connector_id, user_id, device_id, resource_id, target, refusal, "
        "bytes_to_target, bytes_from_target, started_at, duration_ms, policy_version, path) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        network, entry.at, entry.connector, entry.user, entry.device, entry.resource, entry.target, entry.refusal,
        entry.bytes_to_target, entry.bytes_from_target, entry.started_at, entry.duration_ms, entry.policy_version,
        entry.path);
  }
  // Numbers are given in order, so the rows of the file are counted without looking at them.
  database.run("DELETE FROM flow_log WHERE network_id = ?1 AND number <= (SELECT max(number) FROM flow_log) - ?2",
               network, impl_->options.flow_rows_max);
  // Twice as many as came in: the log catches up and no batch pays for a whole month.
  database.run(
      "DELETE FROM flow_log WHERE number IN (SELECT number FROM flow_log WHERE network_id = ?1 ORDER BY number "
      "LIMIT ?3) AND at < ?2",
      network, newest - impl_->options.flow_age_max, std::uint64_t{entries.size()} * 2);
  if (!transaction.commit()) return impl_->failure();
  return {};
}

std::expected<std::vector<FlowLogEntry>, StoreError> Store::flows(model::NetworkId network, std::size_t count,
                                                                  std::uint64_t before) const {
  std::vector<FlowLogEntry> result;
  impl_->database->query(
      "SELECT number, at, connector_id, user_id, device_id, resource_id, target, refusal, bytes_to_target, "
      "bytes_from_target, started_at, duration_ms, policy_version, path FROM flow_log "
      "WHERE network_id = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3",
      [&](const Row& row) { result.push_back(flow_of(row)); }, network, upper_bound_of(before), std::uint64_t{count});
  if (impl_->database->failed()) return impl_->failure();
  return result;
}

std::expected<void, StoreError> Store::backup(const fs::path& target) const {
  return copy_database(*impl_->database, impl_->file, target);
}

std::uint32_t Store::schema_version() const {
  return static_cast<std::uint32_t>(impl_->database->number("PRAGMA user_version"));
}

}  // namespace postern::runtime
