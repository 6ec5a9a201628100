// Sign-ins of devices that wait for their person (RFC 8628, PROTOCOL.md §7), without IO.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.hpp"
#include "base/random.hpp"
#include "base/time.hpp"

namespace postern::server {

inline constexpr std::chrono::seconds kGrantLife{300};
inline constexpr std::chrono::seconds kGrantInterval{2};

/// ```
/// Pending ──approve──▶ Approved ──┐
///    │───────deny────▶ Denied   ──┼─ (300 s after the start) ─▶ gone
///    └────────────────────────────┘
/// ```
enum class GrantState : std::uint8_t { Pending, Approved, Denied };

struct DeviceGrant {
  GrantState state = GrantState::Pending;
  std::string user_code{};  ///< "BCDF-GHJK"
  Bytes public_key{};       ///< DER SPKI
  std::string device_name{};
  std::string address{};  ///< from where it was started
  Instant started{};
  std::uint64_t device_id = 0;  ///< Approved
  std::string account{};        ///< Approved
};

struct StartedGrant {
  std::string device_code{};
  std::string user_code{};
};

enum class PollOutcome : std::uint8_t { Pending, SlowDown, Expired, Denied, Approved };

class DeviceGrants {
 public:
  static constexpr std::size_t kGrantsMax = 1024;
  static constexpr std::size_t kGrantsPerAddressMax = 16;

  /// Nothing at a bound.
  [[nodiscard]] std::optional<StartedGrant> start(Bytes public_key, std::string device_name, std::string address,
                                                  std::string_view address_key, Instant now, RandomSource& random);
  /// By the code as a person types it (case, blanks and the dash do not matter); only while it is Pending.
  [[nodiscard]] const DeviceGrant* find(std::string_view user_code, Instant now) const;
  /// False when it is not Pending any more.
  bool approve(std::string_view user_code, std::uint64_t device_id, std::string account, Instant now);
  bool deny(std::string_view user_code, Instant now);

  /// What the device hears when it asks; Approved gives `grant`.
  [[nodiscard]] PollOutcome poll(std::string_view device_code, Instant now, const DeviceGrant*& grant);
  [[nodiscard]] std::size_t size() const { return grants_.size(); }

 private:
  struct Entry {
    DeviceGrant grant{};
    std::string address_key{};
    std::optional<Instant> last_poll{};
    Duration interval = kGrantInterval;
  };
  using Table = std::map<Digest, Entry>;
  [[nodiscard]] Table::iterator pending(std::string_view user_code, Instant now);
  void expire(Instant now);

  Table grants_;                                             // by the digest of the device code
  std::map<std::string, Digest, std::less<>> by_user_code_;  // without the dash
};

}  // namespace postern::server
