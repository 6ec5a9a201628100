// A thin hand on SQLite's C interface: statements with bound values, rows with typed columns, and a failure that
// sticks.
//
// After the first failure every run() and query() does nothing and says false until take_failure(), so that a sequence
// of statements is checked once at its end (as base/bytes.hpp does for reading).
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/bytes.hpp"
#include "base/strong_id.hpp"
#include "base/time.hpp"

namespace postern::runtime {

/// Ids are stored as they are, "none" (0) as NULL where a column refers to another table.
template <typename Tag>
struct NullableId {
  StrongId<Tag> id;
};
template <typename Tag>
NullableId(StrongId<Tag>) -> NullableId<Tag>;

class Row {
 public:
  explicit Row(sqlite3_stmt* statement) : statement_(statement) {}

  [[nodiscard]] std::int64_t i64(int column) const { return sqlite3_column_int64(statement_, column); }
  [[nodiscard]] std::uint64_t u64(int column) const { return static_cast<std::uint64_t>(i64(column)); }
  [[nodiscard]] std::string text(int column) const;
  [[nodiscard]] Bytes blob(int column) const;
  /// All zero when the column has another size (a CHECK keeps that from happening).
  [[nodiscard]] Digest digest(int column) const;
  [[nodiscard]] WallTime time(int column) const { return from_unix_ms(i64(column)); }
  template <typename Id>
  [[nodiscard]] Id id(int column) const {
    return Id(u64(column));
  }

 private:
  sqlite3_stmt* statement_;
};

class Database {
 public:
  struct Failure {
    int code = SQLITE_OK;  ///< extended result code
    std::string text;
  };

  /// `flags` are SQLITE_OPEN_*. A failure is found by take_failure().
  Database(const std::string& path, int flags);
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  ~Database();

  [[nodiscard]] bool failed() const { return failure_.code != SQLITE_OK; }
  Failure take_failure() { return std::exchange(failure_, {}); }
  [[nodiscard]] sqlite3* handle() const { return handle_; }

  /// Any number of statements without values.
  bool execute(const std::string& sql);
  template <typename... Values>
  bool run(std::string_view sql, const Values&... values) {
    return query(
        sql, [](const Row&) {}, values...);
  }
  template <typename OnRow, typename... Values>
  bool query(std::string_view sql, OnRow&& on_row, const Values&... values) {
    sqlite3_stmt* statement = prepare(sql);
    if (statement == nullptr) return false;
    int at = 0;
    (bind(statement, ++at, values), ...);
    int code = SQLITE_OK;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) on_row(Row(statement));
    if (code != SQLITE_DONE) fail();
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return !failed();
  }
  /// One number; 0 when there is no row.
  [[nodiscard]] std::int64_t number(std::string_view sql);

 private:
  sqlite3_stmt* prepare(std::string_view sql);
  void fail();
  void check(int code) {
    if (code != SQLITE_OK) fail();
  }

  void bind(sqlite3_stmt* s, int at, std::int64_t value) { check(sqlite3_bind_int64(s, at, value)); }
  void bind(sqlite3_stmt* s, int at, std::uint64_t value) { bind(s, at, static_cast<std::int64_t>(value)); }
  void bind(sqlite3_stmt* s, int at, std::uint32_t value) { bind(s, at, std::int64_t{value}); }
  void bind(sqlite3_stmt* s, int at, bool value) { bind(s, at, std::int64_t{value ? 1 : 0}); }
  void bind(sqlite3_stmt* s, int at, WallTime value) { bind(s, at, to_unix_ms(value)); }
  void bind(sqlite3_stmt* s, int at, const std::string& value) {
    check(sqlite3_bind_text64(s, at, value.data(), value.size(), SQLITE_STATIC, SQLITE_UTF8));
  }
  void bind(sqlite3_stmt* s, int at, ByteView value) {
    // A null pointer would bind NULL, and an empty blob is not NULL.
    if (value.empty()) return check(sqlite3_bind_zeroblob(s, at, 0));
    check(sqlite3_bind_blob64(s, at, value.data(), value.size(), SQLITE_STATIC));
  }
  void bind(sqlite3_stmt* s, int at, const Bytes& value) { bind(s, at, ByteView(value)); }
  void bind(sqlite3_stmt* s, int at, const Digest& value) { bind(s, at, ByteView(value)); }
  template <typename Tag>
  void bind(sqlite3_stmt* s, int at, StrongId<Tag> value) {
    bind(s, at, value.value);
  }
  template <typename Tag>
  void bind(sqlite3_stmt* s, int at, NullableId<Tag> value) {
    if (value.id.value == 0) return check(sqlite3_bind_null(s, at));
    bind(s, at, value.id.value);
  }

  sqlite3* handle_ = nullptr;
  std::unordered_map<std::string, sqlite3_stmt*> statements_;
  Failure failure_;
};

/// BEGIN IMMEDIATE … COMMIT; rolls back when it is left without commit() or the commit failed.
class Transaction {
 public:
  explicit Transaction(Database& database) : database_(database) { open_ = database_.execute("BEGIN IMMEDIATE"); }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction();
  /// False when it or anything since the beginning failed; the failure is in the database.
  bool commit();

 private:
  Database& database_;
  bool open_ = false;
};

}  // namespace postern::runtime
