#include "runtime/store/sqlite.hpp"

#include <algorithm>

namespace postern::runtime {

std::string Row::text(int column) const {
  const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  if (data == nullptr) return {};
  return {data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

Bytes Row::blob(int column) const {
  const auto* data = static_cast<const std::uint8_t*>(sqlite3_column_blob(statement_, column));
  if (data == nullptr) return {};
  return {data, data + sqlite3_column_bytes(statement_, column)};
}

Digest Row::digest(int column) const {
  const Bytes bytes = blob(column);
  Digest digest{};
  if (bytes.size() == digest.size()) std::ranges::copy(bytes, digest.begin());
  return digest;
}

Database::Database(const std::string& path, int flags) {
  const int code = sqlite3_open_v2(path.c_str(), &handle_, flags, nullptr);
  if (handle_ != nullptr) sqlite3_extended_result_codes(handle_, 1);
  if (code != SQLITE_OK) failure_ = {code, handle_ == nullptr ? "out of memory" : sqlite3_errmsg(handle_)};
}

Database::~Database() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close_v2(handle_);
}

void Database::fail() {
  if (!failed()) failure_ = {sqlite3_extended_errcode(handle_), sqlite3_errmsg(handle_)};
}

bool Database::execute(const std::string& sql) {
  if (failed()) return false;
  if (sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) fail();
  return !failed();
}

sqlite3_stmt* Database::prepare(std::string_view sql) {
  if (failed()) return nullptr;
  const auto found = statements_.find(std::string(sql));
  if (found != statements_.end()) return found->second;
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                                      &statement, nullptr);
  if (code != SQLITE_OK) {
    fail();
    return nullptr;
  }
  statements_.emplace(sql, statement);
  return statement;
}

std::int64_t Database::number(std::string_view sql) {
  std::int64_t result = 0;
  query(sql, [&](const Row& row) { result = row.i64(0); });
  return result;
}

bool Transaction::commit() {
  if (!open_ || !database_.execute("COMMIT")) return false;
  open_ = false;
  return true;
}

Transaction::~Transaction() {
  // The failure that led here must survive; and after some of them SQLite has rolled back by itself.
  if (open_ && sqlite3_get_autocommit(database_.handle()) == 0) {
    sqlite3_exec(database_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
}

}  // namespace postern::runtime
