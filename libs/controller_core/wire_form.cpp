#include "controller_core/wire_form.hpp"

namespace postern::controller {

namespace {

/// Fills one message after the other.
template <typename Update>
class Splitter {
 public:
  Splitter(bool full, std::size_t target) : target_(target) {
    parts_.emplace_back();
    parts_.back().set_full(full);
  }
  /// The message that has room for `size` more bytes.
  Update& room(std::size_t size) {
    if (used_ + size > target_ && used_ != 0) {
      parts_.emplace_back();
      used_ = 0;
    }
    used_ += size + kOverhead;
    return parts_.back();
  }
  template <typename Repeated, typename Add>
  void move_messages(Repeated& from, Add add) {
    for (auto& item : from) add(room(item.ByteSizeLong()))->Swap(&item);
  }
  std::vector<Update> take() { return std::move(parts_); }

 private:
  static constexpr std::size_t kOverhead = 12;  // tag and length of a field
  std::size_t target_;
  std::size_t used_ = 0;
  std::vector<Update> parts_;
};

}  // namespace

wire::Revocation wire_form(const RevocationRecord& record) {
  wire::Revocation message;
  message.set_user_id(record.user.value);
  message.set_device_id(record.device.value);
  if (record.key != Digest{}) message.set_key_digest(std::string(as_text(record.key)));
  message.set_resource_id(record.resource.value);
  message.set_min_pv(record.min_policy_version);
  message.set_expires_at_ms(to_unix_ms(record.expires_at));
  return message;
}

std::vector<wire::ClientUpdate> split(wire::ClientUpdate whole, std::size_t target) {
  using Update = wire::ClientUpdate;
  Splitter<Update> parts(whole.full(), target);
  for (const auto id : whole.removed_resources()) parts.room(0).add_removed_resources(id);
  for (const auto id : whole.removed_leases()) parts.room(0).add_removed_leases(id);
  for (const auto id : whole.removed_instances()) parts.room(0).add_removed_instances(id);
  for (const auto id : whole.absent_instances()) parts.room(0).add_absent_instances(id);
  parts.move_messages(*whole.mutable_resources(), [](Update& update) { return update.add_resources(); });
  parts.move_messages(*whole.mutable_leases(), [](Update& update) { return update.add_leases(); });
  parts.move_messages(*whole.mutable_instances(), [](Update& update) { return update.add_instances(); });
  return parts.take();
}

std::vector<wire::ConnectorUpdate> split(wire::ConnectorUpdate whole, std::size_t target) {
  using Update = wire::ConnectorUpdate;
  Splitter<Update> parts(whole.full(), target);
  Update& first = parts.room(0);
  first.mutable_keys()->Swap(whole.mutable_keys());
  first.set_knock_key(whole.knock_key());
  // Revocations before resources: what is void must be known first.
  parts.move_messages(*whole.mutable_revocations(), [](Update& update) { return update.add_revocations(); });
  for (const auto id : whole.removed_resources()) parts.room(0).add_removed_resources(id);
  parts.move_messages(*whole.mutable_resources(), [](Update& update) { return update.add_resources(); });
  return parts.take();
}

}  // namespace postern::controller
