// Records as rows: one place that knows the columns of schema/migrations.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "controller_core/records.hpp"
#include "runtime/store/sqlite.hpp"

namespace postern::runtime {

/// Failures stick to the database.
void put_record(Database& database, model::NetworkId network, const controller::Record& record);
void drop_record(Database& database, model::NetworkId network, const controller::Record& record);

[[nodiscard]] std::vector<controller::NetworkRecord> read_networks(Database& database);
/// Nothing when a row does not make sense (somebody else has written it); failures of SQLite stick to the database.
[[nodiscard]] std::optional<std::vector<controller::Record>> read_records(Database& database, model::NetworkId network);

}  // namespace postern::runtime
