#include "controller_core/instances.hpp"

#include "identity/keys.hpp"

namespace postern::controller {

void InstanceBoard::list(LiveInstance instance) {
  const model::InstanceId id = instance.id;
  end(id);
  networks_[id] = instance.remote_network;
  listed_[instance.remote_network].emplace(id, std::move(instance));
}

void InstanceBoard::expect(model::RemoteNetworkId remote_network, model::InstanceId id, const Absence& absence) {
  end(id);
  networks_[id] = remote_network;
  absent_[remote_network].emplace(id, absence);
  ends_.insert({absence.until, id});
}

bool InstanceBoard::miss(model::InstanceId id, const Absence& absence) {
  const auto known = networks_.find(id);
  if (known == networks_.end()) return false;
  const model::RemoteNetworkId remote_network = known->second;
  const Absence* before = find_absence(id);
  const bool is_news = before == nullptr;
  if (is_news)
    expect(remote_network, id, absence);
  else if (absence.until < before->until)
    expect(remote_network, id, {absence.until, before->heard});
  return is_news;
}

std::optional<model::RemoteNetworkId> InstanceBoard::end(model::InstanceId id) {
  if (const Absence* absence = find_absence(id)) ends_.erase({absence->until, id});
  const auto known = networks_.extract(id);
  if (known.empty()) return std::nullopt;
  const model::RemoteNetworkId network = known.mapped();
  const auto forget = [&](auto& all) {
    const auto found = all.find(network);
    if (found == all.end()) return;
    found->second.erase(id);
    if (found->second.empty()) all.erase(found);
  };
  forget(listed_);
  forget(absent_);
  return network;
}

const InstanceBoard::Absence* InstanceBoard::find_absence(model::InstanceId id) const {
  const auto network = networks_.find(id);
  if (network == networks_.end()) return nullptr;
  const Absences& all = absent(network->second);
  const auto found = all.find(id);
  return found == all.end() ? nullptr : &found->second;
}

const InstanceBoard::Instances& InstanceBoard::listed(model::RemoteNetworkId remote_network) const {
  static const Instances kNone;
  const auto found = listed_.find(remote_network);
  return found == listed_.end() ? kNone : found->second;
}

const InstanceBoard::Absences& InstanceBoard::absent(model::RemoteNetworkId remote_network) const {
  static const Absences kNone;
  const auto found = absent_.find(remote_network);
  return found == absent_.end() ? kNone : found->second;
}

std::optional<Instant> InstanceBoard::next_end() const {
  if (ends_.empty()) return std::nullopt;
  return ends_.begin()->first;
}

std::optional<model::InstanceId> InstanceBoard::due(Instant now) const {
  if (ends_.empty() || ends_.begin()->first > now) return std::nullopt;
  return ends_.begin()->second;
}

Bytes instance_knock_key(ByteView knock_secret, const InstanceRecord& instance) {
  Bytes input = to_bytes(as_bytes("postern-knock"));
  std::array<std::uint8_t, 8> id{};
  ByteWriter(id).u64(instance.id.value);
  input.insert(input.end(), id.begin(), id.end());
  const Digest key = identity::sha256(instance.public_key);
  input.insert(input.end(), key.begin(), key.end());
  return to_bytes(identity::hmac_sha256(knock_secret, input));
}

}  // namespace postern::controller
