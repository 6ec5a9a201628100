#include "controller_core/affected.hpp"

namespace postern::controller {

namespace {

class Collector {
 public:
  Collector(const ModelState& model, Affected& affected) : model_(model), affected_(affected) {}

  void operator()(const NetworkRecord&) {}
  void operator()(const RevocationRecord&) {}  // pushed by themselves
  void operator()(const SecretRecord&) {}
  void operator()(const RelayRecord&) {}  // announced by themselves
  void operator()(const RevokedRouteRecord&) {}
  void operator()(const UserRecord& record) { affected_.users.insert(record.id); }
  void operator()(const GroupRecord& record) { group(record.id); }
  void operator()(const MembershipRecord& record) { affected_.users.insert(record.user); }
  void operator()(const RemoteNetworkRecord& record) { affected_.clients_of.insert(record.id); }
  void operator()(const ConnectorRecord& record) { connector(record.id); }
  void operator()(const InstanceRecord& record) { connector(record.connector); }
  void operator()(const DeviceRecord& record) { affected_.users.insert(record.user); }
  void operator()(const ResourceRecord& record) {
    affected_.connectors_of.insert(record.resource.remote_network);
    if (record.resource.is_bypass()) affected_.all_users = true;
    const AccessEdges& edges = model_.access(record.resource.id);
    for (const model::GroupId each : edges.groups) group(each);
    affected_.users.insert(edges.users.begin(), edges.users.end());
  }
  void operator()(const AccessRecord& record) {
    if (record.group.value != 0) return group(record.group);
    affected_.users.insert(record.user);
  }

 private:
  void group(model::GroupId id) {
    if (id == model_.everyone()) affected_.all_users = true;
    const auto& members = model_.members(id);
    affected_.users.insert(members.begin(), members.end());
  }
  void connector(model::ConnectorId id) {
    if (const ConnectorRecord* record = model_.connector(id)) affected_.clients_of.insert(record->remote_network);
  }

  const ModelState& model_;
  Affected& affected_;
};

}  // namespace

void add_affected(const ModelState& model, const ChangeSet& changes, Affected& affected) {
  Collector collect(model, affected);
  for (const Change& change : changes.changes) {
    const auto* upsert = std::get_if<Upsert>(&change);
    std::visit(collect, upsert != nullptr ? upsert->record : std::get<Remove>(change).record);
  }
}

}  // namespace postern::controller
