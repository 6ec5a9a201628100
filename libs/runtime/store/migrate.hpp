// Bringing a file to today's schema, or leaving it exactly as it was.
#pragma once

#include <expected>
#include <span>

#include "base/bytes.hpp"
#include "runtime/store/sqlite.hpp"
#include "runtime/store/store.hpp"

namespace postern::runtime {

/// What SQLite's result code means for people; `file` is named in the sentence.
[[nodiscard]] StoreError store_error(const std::filesystem::path& file, const Database::Failure& failure);

/// SHA-256 over the definitions of all tables, indexes and triggers.
[[nodiscard]] Digest schema_hash(Database& database);

/// Runs the steps that `database` does not have yet. Its schema must be, before and after each step, what the steps
/// make of an empty database. A file that has content is copied to FILE.before-N first, and put back from there when a
/// step fails.
[[nodiscard]] std::expected<void, StoreError> migrate(Database& database, const std::filesystem::path& file,
                                                      std::span<const Migration> migrations);

/// A consistent copy with mode 0600 in a file that does not exist yet.
[[nodiscard]] std::expected<void, StoreError> copy_database(Database& database, const std::filesystem::path& file,
                                                            const std::filesystem::path& target);

}  // namespace postern::runtime
