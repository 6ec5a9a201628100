#include "runtime/store/migrate.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "identity/keys.hpp"

namespace postern::runtime {

namespace {

constexpr std::int64_t kApplicationId = 0x506f7374;  // "Post" in the file's header: this database is ours

std::unexpected<StoreError> refuse(StoreErrorKind kind, std::string message) {
  return std::unexpected(StoreError{kind, std::move(message)});
}

std::unexpected<StoreError> refuse_schema(const std::filesystem::path& file) {
  return refuse(StoreErrorKind::Corrupt,
                file.string() + " has other tables than this version of Postern makes: bring back a backup");
}

bool run_step(Database& database, const Migration& step) {
  return database.execute(std::string(step.sql)) &&
         database.execute("PRAGMA user_version = " + std::to_string(step.number));
}

/// One step of the file beside the same step of an empty database: both must come out the same.
bool migrate_step(Database& database, Database& reference, const Migration& step) {
  Transaction transaction(database);
  if (!run_step(database, step) || !run_step(reference, step)) return false;
  if (schema_hash(database) != schema_hash(reference)) return false;
  std::size_t orphans = 0;
  database.query("PRAGMA foreign_key_check", [&](const Row&) { ++orphans; });
  return orphans == 0 && transaction.commit();
}

bool restore(Database& database, const std::filesystem::path& copy) {
  Database source(copy.string(), SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX);
  if (source.failed()) return false;
  sqlite3_backup* backup = sqlite3_backup_init(database.handle(), "main", source.handle(), "main");
  if (backup == nullptr) return false;
  const int code = sqlite3_backup_step(backup, -1);
  return sqlite3_backup_finish(backup) == SQLITE_OK && code == SQLITE_DONE;
}

std::expected<void, StoreError> check_origin(Database& database, const std::filesystem::path& file,
                                             std::int64_t version, std::size_t newest) {
  const bool empty = database.number("SELECT count(*) FROM sqlite_schema") == 0;
  const std::int64_t application = database.number("PRAGMA application_id");
  if (database.failed()) return std::unexpected(store_error(file, database.take_failure()));
  if (!(empty && version == 0) && application != kApplicationId) {
    return refuse(StoreErrorKind::Corrupt,
                  file.string() + " is a database, but not one of Postern: give the path of Postern's own file");
  }
  if (version < 0 || version > static_cast<std::int64_t>(newest)) {
    return refuse(StoreErrorKind::NewerVersion, file.string() + " was written by a newer Postern (schema " +
                                                    std::to_string(version) + ", this one knows " +
                                                    std::to_string(newest) +
                                                    "): install that version again, or bring back a backup");
  }
  return {};
}

std::unexpected<StoreError> give_up(Database& database, const std::filesystem::path& file, const Migration& step,
                                    const std::filesystem::path& copy) {
  const Database::Failure failure = database.take_failure();
  std::string message = "the migration " + std::string(step.name) + " of " + file.string() + " failed (" +
                        (failure.text.empty() ? "the schema did not come out as expected" : failure.text) + "): ";
  if (copy.empty()) return refuse(StoreErrorKind::Migration, message + "the file is as it was before");
  if (!restore(database, copy)) {
    return refuse(StoreErrorKind::Migration, message + "bring back its copy, " + copy.string());
  }
  std::error_code ignored;
  std::filesystem::remove(copy, ignored);
  return refuse(StoreErrorKind::Migration,
                message + "the file is as it was before; run the older version and report this");
}

}  // namespace

Digest schema_hash(Database& database) {
  std::string text;
  database.query(
      "SELECT type, name, tbl_name, ifnull(sql, '') FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
      "ORDER BY type, name",
      [&](const Row& row) {
        for (int column = 0; column < 4; ++column) text.append(row.text(column)).push_back('\0');
      });
  return identity::sha256(as_bytes(text));
}

std::expected<void, StoreError> copy_database(Database& database, const std::filesystem::path& file,
                                              const std::filesystem::path& target) {
  // VACUUM INTO takes an empty file; made here, it is never readable by others.
  const int fd = ::open(target.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) {
    return refuse(errno == EEXIST ? StoreErrorKind::Exists : StoreErrorKind::Io,
                  "cannot write the copy " + target.string() + ": " + std::strerror(errno));
  }
  ::close(fd);
  if (database.run("VACUUM INTO ?1", target.string())) return {};
  const StoreError error = store_error(file, database.take_failure());
  std::error_code ignored;
  std::filesystem::remove(target, ignored);
  return std::unexpected(error);
}

std::expected<void, StoreError> migrate(Database& database, const std::filesystem::path& file,
                                        std::span<const Migration> migrations) {
  const std::int64_t version = database.number("PRAGMA user_version");
  if (database.failed()) return std::unexpected(store_error(file, database.take_failure()));
  if (auto origin = check_origin(database, file, version, migrations.size()); !origin) return origin;

  Database reference(":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX);
  const auto done = static_cast<std::size_t>(version);
  for (const Migration& step : migrations.first(done)) run_step(reference, step);
  if (schema_hash(database) != schema_hash(reference)) return refuse_schema(file);
  if (done == migrations.size()) return {};

  std::filesystem::path copy;
  if (done != 0) {
    copy = file.string() + ".before-" + std::to_string(migrations[done].number);
    std::error_code ignored;
    std::filesystem::remove(copy, ignored);  // left by an attempt that was killed
    if (auto copied = copy_database(database, file, copy); !copied) return copied;
  }
  // A step may rebuild tables that others refer to; foreign_key_check looks at the end of each.
  database.execute("PRAGMA foreign_keys = OFF; PRAGMA application_id = " + std::to_string(kApplicationId));
  for (const Migration& step : migrations.subspan(done)) {
    if (!migrate_step(database, reference, step)) return give_up(database, file, step, copy);
  }
  database.execute("PRAGMA foreign_keys = ON");
  if (database.failed()) return std::unexpected(store_error(file, database.take_failure()));
  return {};
}

}  // namespace postern::runtime
