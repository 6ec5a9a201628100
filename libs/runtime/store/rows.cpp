#include "runtime/store/rows.hpp"

namespace postern::runtime {

namespace {

using namespace controller;  // NOLINT: the record types are what this file is about

class Writer {
 public:
  Writer(Database& database, model::NetworkId network) : db_(database), network_(network) {}

  void operator()(const NetworkRecord& r) {
    // Change sets that were planned side by side must not turn the counters back.
    db_.run(
        "INSERT INTO network VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO UPDATE SET slug = ?2, "
        "display_name = ?3, url = ?4, root_certificate_pem = ?5, policy_version = max(policy_version, ?6), "
        "next_id = max(next_id, ?7), created_at = ?8",
        r.id, r.slug, r.display_name, r.url, r.root_certificate_pem, r.policy_version, r.next_id, r.created_at);
  }
  void operator()(const UserRecord& r) {
    db_.run(
        "INSERT INTO user_account VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (network_id, id) DO UPDATE SET "
        "email = ?3, password_hash = ?4, role = ?5, state = ?6, created_at = ?7",
        network_, r.id, r.email, r.password_hash, static_cast<std::uint32_t>(r.role),
        static_cast<std::uint32_t>(r.state), r.created_at);
  }
  void operator()(const GroupRecord& r) {
    db_.run(
        "INSERT INTO user_group VALUES (?1, ?2, ?3, ?4) ON CONFLICT (network_id, id) DO UPDATE SET name = ?3, "
        "everyone = ?4",
        network_, r.id, r.name, r.everyone);
  }
  void operator()(const MembershipRecord& r) {
    db_.run("INSERT INTO membership VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING", network_, r.group, r.user);
  }
  void operator()(const RemoteNetworkRecord& r) {
    db_.run("INSERT INTO remote_network VALUES (?1, ?2, ?3) ON CONFLICT (network_id, id) DO UPDATE SET name = ?3",
            network_, r.id, r.name);
  }
  void operator()(const ConnectorRecord& r) {
    db_.run(
        "INSERT INTO connector VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (network_id, id) DO UPDATE SET "
        "remote_network_id = ?3, name = ?4, instances_max = ?5, token_generation = ?6, refresh_token_digest = ?7",
        network_, r.id, r.remote_network, r.name, r.instances_max, r.token_generation, r.refresh_token_digest);
  }
  void operator()(const InstanceRecord& r) {
    db_.run(
        "INSERT INTO instance VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (network_id, id) DO UPDATE SET "
        "connector_id = ?3, token_generation = ?4, public_key = ?5, hostname = ?6, enrolled_at = ?7, draining = ?8",
        network_, r.id, r.connector, r.token_generation, r.public_key, r.hostname, r.enrolled_at, r.draining);
  }
  void operator()(const DeviceRecord& r) {
    db_.run(
        "INSERT INTO device VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (network_id, id) DO UPDATE SET "
        "user_id = ?3, name = ?4, public_key = ?5, enrolled_at = ?6, signed_in_until = ?7",
        network_, r.id, r.user, r.name, r.public_key, r.enrolled_at, r.signed_in_until);
  }
  void operator()(const ResourceRecord& record) {
    const model::Resource& r = record.resource;
    std::string aliases;
    for (const model::DnsName& alias : r.aliases) aliases += (aliases.empty() ? "" : " ") + alias.text();
    db_.run(
        "INSERT INTO resource VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (network_id, id) DO "
        "UPDATE SET remote_network_id = ?3, name = ?4, address = ?5, aliases = ?6, tcp = ?7, udp = ?8, allow_icmp = "
        "?9, bypass = ?10, priority = ?11",
        network_, r.id, r.remote_network, r.name, r.address.text(), aliases, r.tcp.text(), r.udp.text(), r.allow_icmp,
        r.is_bypass(), r.priority);
  }
  void operator()(const AccessRecord& r) {
    db_.run("INSERT INTO access VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING", network_, r.resource,
            NullableId(r.group), NullableId(r.user));
  }
  void operator()(const RevocationRecord& r) {
    db_.run(
        "INSERT INTO revocation VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (network_id, id) DO UPDATE SET "
        "user_id = ?3, device_id = ?4, key_digest = ?5, resource_id = ?6, min_policy_version = ?7, expires_at = ?8",
        network_, r.id, r.user, r.device, r.key, r.resource, r.min_policy_version, r.expires_at);
  }
  void operator()(const SecretRecord& r) {
    db_.run("INSERT INTO secret VALUES (?1, ?2, ?3) ON CONFLICT (network_id, name) DO UPDATE SET sealed = ?3", network_,
            r.name, r.sealed);
  }
  void operator()(const RelayRecord& r) {
    std::string addresses;
    for (const std::string& address : r.addresses) addresses += (addresses.empty() ? "" : " ") + address;
    db_.run(
        "INSERT INTO relay VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (network_id, id) DO UPDATE SET "
        "name = ?3, addresses = ?4, token_digest = ?5, public_key = ?6, hostname = ?7, enrolled_at = ?8",
        network_, r.id, r.name, addresses, r.token_digest, r.public_key, r.hostname, r.enrolled_at);
  }
  void operator()(const RevokedRouteRecord& r) {
    db_.run(
        "INSERT INTO revoked_route VALUES (?1, ?2, ?3) ON CONFLICT (network_id, route) DO UPDATE SET expires_at = ?3",
        network_, to_bytes(r.route.bytes), r.expires_at);
  }

 private:
  Database& db_;
  model::NetworkId network_;
};

class Remover {
 public:
  Remover(Database& database, model::NetworkId network) : db_(database), network_(network) {}

  void operator()(const NetworkRecord& r) { db_.run("DELETE FROM network WHERE id = ?1", r.id); }
  void operator()(const UserRecord& r) { by_id("user_account", r.id.value); }
  void operator()(const GroupRecord& r) { by_id("user_group", r.id.value); }
  void operator()(const MembershipRecord& r) {
    db_.run("DELETE FROM membership WHERE network_id = ?1 AND group_id = ?2 AND user_id = ?3", network_, r.group,
            r.user);
  }
  void operator()(const RemoteNetworkRecord& r) { by_id("remote_network", r.id.value); }
  void operator()(const ConnectorRecord& r) { by_id("connector", r.id.value); }
  void operator()(const InstanceRecord& r) { by_id("instance", r.id.value); }
  void operator()(const DeviceRecord& r) { by_id("device", r.id.value); }
  void operator()(const ResourceRecord& r) { by_id("resource", r.resource.id.value); }
  void operator()(const AccessRecord& r) {
    db_.run("DELETE FROM access WHERE network_id = ?1 AND resource_id = ?2 AND group_id IS ?3 AND user_id IS ?4",
            network_, r.resource, NullableId(r.group), NullableId(r.user));
  }
  void operator()(const RevocationRecord& r) { by_id("revocation", r.id); }
  void operator()(const SecretRecord& r) {
    db_.run("DELETE FROM secret WHERE network_id = ?1 AND name = ?2", network_, r.name);
  }
  void operator()(const RelayRecord& r) { by_id("relay", r.id.value); }
  void operator()(const RevokedRouteRecord& r) {
    db_.run("DELETE FROM revoked_route WHERE network_id = ?1 AND route = ?2", network_, to_bytes(r.route.bytes));
  }

 private:
  /// `table` is one of the literals above.
  void by_id(const char* table, std::uint64_t id) {
    db_.run(std::string("DELETE FROM ") + table + " WHERE network_id = ?1 AND id = ?2", network_, id);
  }

  Database& db_;
  model::NetworkId network_;
};

NetworkRecord network_of(const Row& row) {
  return {row.id<model::NetworkId>(0),
          row.text(1),
          row.text(2),
          row.text(3),
          row.text(4),
          row.u64(5),
          row.u64(6),
          row.time(7)};
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t blank = std::min(text.find(' ', start), text.size());
    words.push_back(text.substr(start, blank - start));
    start = blank + 1;
  }
  return words;
}

std::optional<ResourceRecord> resource_of(const Row& row) {
  auto address = model::ResourceAddress::parse(row.text(3));
  auto tcp = model::ProtocolRule::parse(row.text(5));
  auto udp = model::ProtocolRule::parse(row.text(6));
  if (!address || !tcp || !udp) return std::nullopt;
  model::Resource resource{row.id<model::ResourceId>(0),
                           row.text(2),
                           row.id<model::RemoteNetworkId>(1),
                           std::move(*address),
                           {},
                           std::move(*tcp),
                           std::move(*udp),
                           row.i64(7) != 0,
                           row.i64(8) != 0 ? model::Routing::Bypass : model::Routing::Through,
                           static_cast<std::uint32_t>(row.u64(9))};
  for (const std::string& word : words_of(row.text(4))) {
    const auto alias = model::DnsName::parse(word);
    if (!alias) return std::nullopt;
    resource.aliases.push_back(*alias);
  }
  return ResourceRecord{std::move(resource)};
}

void read_people(Database& db, model::NetworkId network, std::vector<Record>& out) {
  db.query(
      "SELECT id, email, password_hash, role, state, created_at FROM user_account WHERE network_id = ?1 ORDER BY id",
      [&](const Row& row) {
        out.emplace_back(UserRecord{row.id<model::UserId>(0), row.text(1), row.text(2),
                                    static_cast<UserRole>(row.i64(3)), static_cast<UserState>(row.i64(4)),
                                    row.time(5)});
      },
      network);
  db.query(
      "SELECT id, name, everyone FROM user_group WHERE network_id = ?1 ORDER BY id",
      [&](const Row& row) {
        out.emplace_back(GroupRecord{row.id<model::GroupId>(0), row.text(1), row.i64(2) != 0});
      },
      network);
  db.query(
      "SELECT group_id, user_id FROM membership WHERE network_id = ?1 ORDER BY group_id, user_id",
      [&](const Row& row) {
        out.emplace_back(MembershipRecord{row.id<model::GroupId>(0), row.id<model::UserId>(1)});
      },
      network);
  db.query(
      "SELECT id, user_id, name, public_key, enrolled_at, signed_in_until FROM device WHERE network_id = ?1 ORDER BY "
      "id",
      [&](const Row& row) {
        out.emplace_back(DeviceRecord{row.id<model::DeviceId>(0), row.id<model::UserId>(1), row.text(2), row.blob(3),
                                      row.time(4), row.time(5)});
      },
      network);
}

void read_connectors(Database& db, model::NetworkId network, std::vector<Record>& out) {
  db.query(
      "SELECT id, name FROM remote_network WHERE network_id = ?1 ORDER BY id",
      [&](const Row& row) {
        out.emplace_back(RemoteNetworkRecord{row.id<model::RemoteNetworkId>(0), row.text(1)});
      },
      network);
  db.query(
      "SELECT id, remote_network_id, name, instances_max, token_generation, refresh_token_digest FROM connector "
      "WHERE network_id = ?1 ORDER BY id",
      [&](const Row& row) {
        out.emplace_back(ConnectorRecord{row.id<model::ConnectorId>(0), row.id<model::RemoteNetworkId>(1), row.text(2),
                                         static_cast<std::uint32_t>(row.i64(3)), row.u64(4), row.digest(5)});
      },
      network);
  db.query(
      "SELECT id, connector_id, token_generation, public_key, hostname, enrolled_at, draining FROM instance "
      "WHERE network_id = ?1 ORDER BY id",
      [&](const Row& row) {
        out.emplace_back(InstanceRecord{row.id<model::InstanceId>(0), row.id<model::ConnectorId>(1), row.u64(2),
                                        row.blob(3), row.text(4), row.time(5), row.i64(6) != 0});
      },
      network);
}

void read_relays(Database& db, model::NetworkId network, std::vector<Record>& out) {
  db.query(
      "SELECT id, name, addresses, token_digest, public_key, hostname, enrolled_at FROM relay WHERE network_id = ?1 "
      "ORDER BY id",
      [&](const Row& row) {
        out.emplace_back(RelayRecord{row.id<model::RelayId>(0), row.text(1), words_of(row.text(2)), row.digest(3),
                                     row.blob(4), row.text(5), row.time(6)});
      },
      network);
  db.query(
      "SELECT route, expires_at FROM revoked_route WHERE network_id = ?1 ORDER BY expires_at, route",
      [&](const Row& row) {
        RevokedRouteRecord record{{}, row.time(1)};
        const Bytes route = row.blob(0);
        std::copy_n(route.begin(), std::min(route.size(), record.route.bytes.size()), record.route.bytes.begin());
        out.emplace_back(record);
      },
      network);
}

/// False when a resource does not parse.
bool read_policy(Database& db, model::NetworkId network, std::vector<Record>& out) {
  bool sound = true;
  db.query(
      "SELECT id, remote_network_id, name, address, aliases, tcp, udp, allow_icmp, bypass, priority FROM resource "
      "WHERE network_id = ?1 ORDER BY id",
      [&](const Row& row) {
        auto resource = resource_of(row);
        if (resource) out.emplace_back(std::move(*resource));
        sound = sound && resource.has_value();
      },
      network);
  db.query(
      "SELECT resource_id, ifnull(group_id, 0), ifnull(user_id, 0) FROM access WHERE network_id = ?1 "
      "ORDER BY resource_id, 2, 3",
      [&](const Row& row) {
        out.emplace_back(
            AccessRecord{row.id<model::ResourceId>(0), row.id<model::GroupId>(1), row.id<model::UserId>(2)});
      },
      network);
  db.query(
      "SELECT id, user_id, device_id, key_digest, resource_id, min_policy_version, expires_at FROM revocation "
      "WHERE network_id = ?1 ORDER BY id",
      [&](const Row& row) {
        out.emplace_back(RevocationRecord{row.u64(0), row.id<model::UserId>(1), row.id<model::DeviceId>(2),
                                          row.digest(3), row.id<model::ResourceId>(4), row.u64(5), row.time(6)});
      },
      network);
  db.query(
      "SELECT name, sealed FROM secret WHERE network_id = ?1 ORDER BY name",
      [&](const Row& row) {
        out.emplace_back(SecretRecord{row.text(0), row.blob(1)});
      },
      network);
  return sound;
}

}  // namespace

void put_record(Database& database, model::NetworkId network, const Record& record) {
  std::visit(Writer(database, network), record);
}

void drop_record(Database& database, model::NetworkId network, const Record& record) {
  std::visit(Remover(database, network), record);
}

std::vector<NetworkRecord> read_networks(Database& database) {
  std::vector<NetworkRecord> networks;
  database.query("SELECT * FROM network ORDER BY id", [&](const Row& row) { networks.push_back(network_of(row)); });
  return networks;
}

std::optional<std::vector<Record>> read_records(Database& database, model::NetworkId network) {
  std::vector<Record> records;
  database.query(
      "SELECT * FROM network WHERE id = ?1", [&](const Row& row) { records.emplace_back(network_of(row)); }, network);
  read_people(database, network, records);
  read_connectors(database, network, records);
  read_relays(database, network, records);
  if (!read_policy(database, network, records)) return std::nullopt;
  return records;
}

}  // namespace postern::runtime
