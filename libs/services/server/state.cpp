#include "services/server/state.hpp"

#include <algorithm>

#include "runtime/os/files.hpp"
#include "runtime/store/master_key.hpp"
#include "runtime/store/password.hpp"
#include "services/server/setup_links.hpp"

namespace postern::server {
namespace {

using config::ExitCode;
using controller::Record;
using controller::SecretRecord;
using runtime::MasterKeyError;
using runtime::MasterKeyErrorKind;

constexpr std::string_view kSigningKey = "signing-key";
constexpr std::string_view kKnockSecret = "knock-secret";
constexpr std::string_view kRelaySealKey = "relay-seal-key";
constexpr std::string_view kRootKey = "root-key";
constexpr std::string_view kLeaf = "tls-leaf";
/// A server has one Network in this version.
constexpr model::NetworkId kNetwork{1};

std::filesystem::path master_key_file(const std::filesystem::path& folder) {
  return folder / "master.key";
}
std::filesystem::path database_file(const std::filesystem::path& folder) {
  return folder / "postern.db";
}

ServerError key_error(const MasterKeyError& error) {
  const bool permission = error.kind == MasterKeyErrorKind::TooOpen || error.kind == MasterKeyErrorKind::Unreadable;
  return {permission ? ExitCode::NotPermitted : ExitCode::StateUnusable, error.message};
}

ServerError unusable(const std::filesystem::path& folder, const std::string& what) {
  return {ExitCode::StateUnusable, "the state in " + folder.string() + " cannot be used: " + what};
}

std::expected<identity::SealKey, ServerError> make_master_key(const std::filesystem::path& folder,
                                                              RandomSource& random) {
  auto made = runtime::create_master_key(master_key_file(folder), random);
  if (!made && made.error().kind == MasterKeyErrorKind::Exists)
    made = runtime::load_master_key(master_key_file(folder));
  if (!made) return std::unexpected(key_error(made.error()));
  return *made;
}

/// The secrets of a new Network, sealed.
struct NewSecrets {
  identity::PrivateKey signing;
  Bytes knock;
  identity::PrivateKey root;
  std::string root_pem;
  std::vector<SecretRecord> sealed;
};

std::optional<NewSecrets> make_secrets(const InitRequest& request, const identity::SealKey& master, WallTime now,
                                       RandomSource& random) {
  NewSecrets made{.signing = identity::PrivateKey::generate(random),
                  .knock = to_bytes(random.make<std::array<std::uint8_t, 32>>()),
                  .root = identity::PrivateKey::generate(random),
                  .root_pem = {},
                  .sealed = {}};
  made.root_pem = identity::make_root_certificate(made.root, "Postern " + request.slug, now - std::chrono::days(1));
  const auto leaf = make_leaf(made.root, made.root_pem, request.address, now, random);
  if (!leaf) return std::nullopt;
  const auto relay = random.make<identity::SealKey>();
  const auto seal = [&](std::string_view name, ByteView plain) {
    made.sealed.push_back(runtime::seal_secret(master, kNetwork, name, plain, random));
  };
  seal(kSigningKey, made.signing.to_pkcs8());
  seal(kKnockSecret, made.knock);
  seal(kRelaySealKey, relay);
  seal(kRootKey, made.root.to_pkcs8());
  seal(kLeaf, leaf->encode());
  return made;
}

void append(controller::ChangeSet& to, const controller::ChangeSet& from) {
  to.changes.insert(to.changes.end(), from.changes.begin(), from.changes.end());
  to.audit.insert(to.audit.end(), from.audit.begin(), from.audit.end());
}

std::vector<Record> upserted(const controller::ChangeSet& changes) {
  std::vector<Record> records;
  for (const controller::Change& change : changes.changes) {
    if (const auto* upsert = std::get_if<controller::Upsert>(&change)) records.push_back(upsert->record);
  }
  return records;
}

/// The Network, its secrets and its first admin as one change set. Gives the admin's id.
std::expected<std::uint64_t, ServerError> plan_network(const InitRequest& request, const NewSecrets& secrets,
                                                       WallTime now, RandomSource& random,
                                                       controller::ChangeSet& changes) {
  const controller::CommandContext context{"admin:local", "init", now};
  auto founded = controller::found_network(
      {kNetwork, request.slug, request.display_name, request.address.url(), secrets.root_pem}, context);
  if (!founded) return std::unexpected(to_server_error(founded.error()));
  append(changes, *founded);
  for (const SecretRecord& secret : secrets.sealed) changes.changes.emplace_back(controller::Upsert{secret});
  controller::Controller model({}, {secrets.signing, secrets.knock}, random);
  model.load({}, now, upserted(*founded));
  const std::string hash = request.admin_password ? runtime::hash_password(*request.admin_password, random) : "";
  const auto admin =
      model.plan(controller::CreateUser{request.admin_email, hash, controller::UserRole::Admin}, context);
  if (!admin) return std::unexpected(to_server_error(admin.error()));
  append(changes, admin->changes);
  return admin->id;
}

const SecretRecord* find_secret(const std::vector<Record>& records, std::string_view name) {
  for (const Record& record : records) {
    const auto* secret = std::get_if<SecretRecord>(&record);
    if (secret != nullptr && secret->name == name) return secret;
  }
  return nullptr;
}

std::expected<Bytes, ServerError> open_named(const ServerState& state, const std::filesystem::path& folder,
                                             std::string_view name) {
  const SecretRecord* secret = find_secret(state.records, name);
  if (secret == nullptr) return std::unexpected(unusable(folder, "the secret " + std::string(name) + " is missing"));
  auto plain = runtime::open_secret(state.master, state.network.id, *secret);
  if (!plain) return std::unexpected(key_error(plain.error()));
  return std::move(*plain);
}

std::expected<identity::PrivateKey, ServerError> open_key(const ServerState& state, const std::filesystem::path& folder,
                                                          std::string_view name) {
  const auto plain = open_named(state, folder, name);
  if (!plain) return std::unexpected(plain.error());
  auto key = identity::PrivateKey::from_pkcs8(*plain);
  if (!key) return std::unexpected(unusable(folder, "the secret " + std::string(name) + " is not a key"));
  return std::move(*key);
}

std::expected<void, ServerError> open_secrets(ServerState& state, const std::filesystem::path& folder) {
  auto signing = open_key(state, folder, kSigningKey);
  if (!signing) return std::unexpected(signing.error());
  auto root = open_key(state, folder, kRootKey);
  if (!root) return std::unexpected(root.error());
  auto knock = open_named(state, folder, kKnockSecret);
  if (!knock) return std::unexpected(knock.error());
  const auto relay = open_named(state, folder, kRelaySealKey);
  if (!relay) return std::unexpected(relay.error());
  const auto leaf_bytes = open_named(state, folder, kLeaf);
  if (!leaf_bytes) return std::unexpected(leaf_bytes.error());
  auto leaf = Leaf::decode(*leaf_bytes);
  if (!leaf || relay->size() != state.relay_seal.size())
    return std::unexpected(unusable(folder, "a secret is damaged"));
  state.signing = std::move(*signing);
  state.root = std::move(*root);
  state.knock_secret = std::move(*knock);
  std::ranges::copy(*relay, state.relay_seal.begin());
  state.leaf = std::move(*leaf);
  return {};
}

}  // namespace

std::expected<InitResult, ServerError> init_state(const InitRequest& request, WallTime now, RandomSource& random) {
  if (request.admin_password) {
    const std::string problem = runtime::password_problem(*request.admin_password);
    if (!problem.empty()) return std::unexpected(ServerError{ExitCode::Usage, problem});
  }
  if (auto made = runtime::make_directories(request.folder.string(), 0700); !made) {
    return std::unexpected(ServerError{ExitCode::NotPermitted, made.error().text});
  }
  auto store = runtime::Store::open(database_file(request.folder));
  if (!store) return std::unexpected(to_server_error(store.error()));
  const auto present = store->networks();
  if (!present) return std::unexpected(to_server_error(present.error()));
  if (!present->empty()) {
    return std::unexpected(ServerError{ExitCode::Conflict, "there is a Network \"" + present->front().slug + "\" in " +
                                                               request.folder.string() +
                                                               " already; use another --state folder for another one"});
  }
  const auto master = make_master_key(request.folder, random);
  if (!master) return std::unexpected(master.error());
  const auto secrets = make_secrets(request, *master, now, random);
  if (!secrets)
    return std::unexpected(ServerError{ExitCode::Usage, "no certificate can be made for " + request.address.host});
  controller::ChangeSet changes;
  const auto admin = plan_network(request, *secrets, now, random, changes);
  if (!admin) return std::unexpected(admin.error());

  const Digest& digest = secrets->root.public_key().digest();
  InitResult result{.url = request.address.url(),
                    .enrolment_url = enrolment_url(request.address.url(), digest),
                    .ca_digest = to_base64url(digest)};
  if (!request.admin_password) {
    const NewSetupLink link = make_setup_link(model::UserId(*admin), now, random);
    result.setup_link = result.url + link.target;
    changes.changes.emplace_back(
        controller::Upsert{runtime::seal_secret(*master, kNetwork, link.record_name, link.record, random)});
  }
  if (auto committed = store->commit(kNetwork, changes); !committed) {
    return std::unexpected(to_server_error(committed.error()));
  }
  return result;
}

std::expected<ServerState, ServerError> open_state(const std::filesystem::path& folder, WallTime now,
                                                   RandomSource& random) {
  auto store = runtime::Store::open(database_file(folder), {.mode = runtime::OpenMode::Existing});
  if (!store) {
    ServerError error = to_server_error(store.error());
    if (store.error().kind == runtime::StoreErrorKind::NotFound) {
      error.message = "there is no Network in " + folder.string() + "; make one with postern-server init --state " +
                      folder.string();
    }
    return std::unexpected(std::move(error));
  }
  const auto master = runtime::load_master_key(master_key_file(folder));
  if (!master) return std::unexpected(key_error(master.error()));
  const auto networks = store->networks();
  if (!networks) return std::unexpected(to_server_error(networks.error()));
  if (networks->empty()) {
    return std::unexpected(unusable(folder, "it has no Network; make one with postern-server init"));
  }
  ServerState state{.store = std::move(*store), .master = *master, .network = networks->front()};
  auto records = state.store.load(state.network.id);
  if (!records) return std::unexpected(to_server_error(records.error()));
  state.records = std::move(*records);
  if (auto opened = open_secrets(state, folder); !opened) return std::unexpected(opened.error());
  if (auto renewed = renew_leaf(state, now, random); !renewed) return std::unexpected(renewed.error());
  return state;
}

std::expected<bool, ServerError> renew_leaf(ServerState& state, WallTime now, RandomSource& random) {
  const auto address = PublicAddress::parse_url(state.network.url);
  if (!address)
    return std::unexpected(ServerError{ExitCode::StateUnusable, "the stored URL is damaged: " + state.network.url});
  if (!state.leaf.must_renew(address->host, now)) return false;
  auto leaf = make_leaf(state.root, state.network.root_certificate_pem, *address, now, random);
  if (!leaf) return std::unexpected(ServerError{ExitCode::StateUnusable, "the root key does not fit its certificate"});
  controller::ChangeSet changes;
  changes.changes.emplace_back(
      controller::Upsert{runtime::seal_secret(state.master, state.network.id, kLeaf, leaf->encode(), random)});
  changes.audit.push_back(
      {now, "server", "start", "certificate.renew", "network:" + std::to_string(state.network.id.value), "", ""});
  if (auto committed = state.store.commit(state.network.id, changes); !committed) {
    return std::unexpected(to_server_error(committed.error()));
  }
  state.leaf = std::move(*leaf);
  return true;
}

}  // namespace postern::server
