#include "controller_core/audit_text.hpp"
#include "controller_core/commands/commands.hpp"
#include "controller_core/limits.hpp"
#include "controller_core/names.hpp"

namespace postern::controller {

namespace {

void remove_device(Plan& plan, const DeviceRecord& device, std::string_view action) {
  plan.raise_policy_version();
  plan.revoke(device.id);
  plan.audit(action, subject("device", device.id.value), audit_text(device), {});
  plan.remove(device);
}

}  // namespace

PlanResult plan_command(Plan& plan, const EnrolDevice& command) {
  const ModelState& model = plan.model();
  const auto user = find_user(model, command.user);
  if (!user) return std::unexpected(user.error());
  if ((*user)->state != UserState::Active) {
    return refuse(CommandError::Kind::Conflict, (*user)->email + " is disabled and cannot sign in on a device");
  }
  const auto key = identity::PublicKey::from_spki(command.public_key);
  if (!key) return refuse(CommandError::Kind::Invalid, "the device's key is not a P-256 public key");

  DeviceRecord device;
  device.user = (*user)->id;
  device.name = shown_name(command.device_name);
  device.public_key = command.public_key;
  device.enrolled_at = plan.now();
  device.signed_in_until = command.signed_in_until;
  std::string before;
  const DeviceRecord* known = model.device_by_key(key->digest());
  if (known != nullptr && known->user == device.user) {
    // The same person signs in again: the device stays the one that it was.
    device.id = known->id;
    device.enrolled_at = known->enrolled_at;
    before = audit_text(*known);
  } else {
    if (model.devices_of(device.user).size() >= kDevicesPerUserMax) {
      return refuse(CommandError::Kind::Conflict,
                    (*user)->email + " has 32 devices: delete one that is no longer used");
    }
    if (known != nullptr) remove_device(plan, *known, "device.replace");
    device.id = model::DeviceId(plan.draw_id());
  }
  if (device.name.empty()) device.name = "device " + std::to_string(device.id.value);
  plan.audit(before.empty() ? "device.enrol" : "device.sign_in", subject("device", device.id.value), before,
             audit_text(device));
  plan.upsert(device);
  return plan.finish(device.id.value);
}

PlanResult plan_command(Plan& plan, const DeleteDevice& command) {
  const auto device = find_device(plan.model(), command.device);
  if (!device) return std::unexpected(device.error());
  remove_device(plan, **device, "device.delete");
  return plan.finish((*device)->id.value);
}

}  // namespace postern::controller
