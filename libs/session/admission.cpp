#include "session/admission.hpp"

#include <algorithm>

namespace postern::session {

namespace {
constexpr Duration kSecond = std::chrono::seconds(1);
}  // namespace

std::optional<DropReason> Admission::refuse_any() const {
  if (half_open_ >= limits_.half_open_max) return DropReason::HandshakeLimit;
  if (half_open_ + established_ >= limits_.sessions_max) return DropReason::SessionLimit;
  return std::nullopt;
}

std::optional<DropReason> Admission::start(Instant now, const Digest& device) {
  if (devices_.size() >= sweep_at_) sweep(now);
  Device& entry = devices_[device];
  if (now - entry.second >= kSecond) {
    entry.second = now;
    entry.started = 0;
  }
  if (entry.started >= limits_.handshakes_per_device_per_second_max) return DropReason::HandshakeLimit;
  // One more than the limit may be half-open: when its key is proven it displaces the device's most silent session, so
  // that a laptop that was killed four times is not locked out by its own ghosts.
  if (entry.half_open > limits_.sessions_per_device_max) return DropReason::SessionLimit;
  ++entry.started;
  ++entry.half_open;
  ++half_open_;
  return std::nullopt;
}

bool Admission::establish(const Digest& device) {
  end_half_open(device);
  Device& entry = devices_[device];
  ++entry.established;
  ++established_;
  return entry.established > limits_.sessions_per_device_max;
}

void Admission::end_half_open(const Digest& device) {
  --devices_[device].half_open;
  --half_open_;
}

void Admission::end_established(const Digest& device) {
  --devices_[device].established;
  --established_;
}

/// Forgets devices that have nothing open; runs when the table has doubled, so it costs O(1) per handshake.
void Admission::sweep(Instant now) {
  std::erase_if(devices_, [now](const auto& item) {
    const Device& device = item.second;
    return device.half_open == 0 && device.established == 0 && now - device.second >= kSecond;
  });
  sweep_at_ = std::max<std::size_t>(64, devices_.size() * 2);
}

}  // namespace postern::session
