#include "session/connection_ids.hpp"

namespace postern::session {

ConnectionId ConnectionIdTable::issue(Connection& owner) {
  for (;;) {
    const ConnectionId id = ConnectionId::make(worker_, route_, random_.make<std::array<std::uint8_t, 8>>());
    if (adopt(id, owner)) return id;
  }
}

void ConnectionIdTable::remove(const ConnectionId& id) {
  owners_.erase(id);
  last_owner_ = nullptr;
}

Connection* ConnectionIdTable::find(const ConnectionId& id) {
  if (last_owner_ != nullptr && id == last_id_) return last_owner_;
  const auto found = owners_.find(id);
  if (found == owners_.end()) return nullptr;
  last_id_ = id;
  last_owner_ = found->second;
  return last_owner_;
}

}  // namespace postern::session
