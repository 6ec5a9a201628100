#include "services/server/device_grants.hpp"

#include <algorithm>
#include <cctype>

#include "identity/keys.hpp"

namespace postern::server {
namespace {

/// No vowels and nothing that looks like another: no words, no mistakes (RFC 8628 §6.1).
constexpr std::string_view kCodeLetters = "BCDFGHJKLMNPQRSTVWXZ";
constexpr std::size_t kCodeLength = 8;

std::string draw_user_code(RandomSource& random) {
  std::string code;
  while (code.size() < kCodeLength) {
    const std::uint8_t byte = random.make<std::array<std::uint8_t, 1>>()[0];
    // 240 is a multiple of 20: every letter is as likely as the others.
    if (byte < 240) code += kCodeLetters[byte % kCodeLetters.size()];
  }
  return code;
}

std::string with_dash(const std::string& code) {
  return code.substr(0, 4) + '-' + code.substr(4);
}

std::string normalised(std::string_view typed) {
  std::string code;
  for (const char c : typed) {
    const char upper = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    if (kCodeLetters.contains(upper)) code += upper;
    if (code.size() > kCodeLength) return {};
  }
  return code;
}

Digest digest_of(std::string_view device_code) {
  return identity::sha256(as_bytes(device_code));
}

}  // namespace

std::optional<StartedGrant> DeviceGrants::start(Bytes public_key, std::string device_name, std::string address,
                                                std::string_view address_key, Instant now, RandomSource& random) {
  expire(now);
  const auto same_address = [&](const auto& each) { return each.second.address_key == address_key; };
  if (grants_.size() >= kGrantsMax) return std::nullopt;
  if (static_cast<std::size_t>(std::ranges::count_if(grants_, same_address)) >= kGrantsPerAddressMax)
    return std::nullopt;
  std::string code = draw_user_code(random);
  while (by_user_code_.contains(code)) code = draw_user_code(random);
  const std::string device_code = to_base64url(random.make<std::array<std::uint8_t, 32>>());
  const Digest digest = digest_of(device_code);
  by_user_code_[code] = digest;
  grants_[digest] = Entry{.grant = {.user_code = with_dash(code),
                                    .public_key = std::move(public_key),
                                    .device_name = std::move(device_name),
                                    .address = std::move(address),
                                    .started = now},
                          .address_key = std::string(address_key)};
  return StartedGrant{.device_code = device_code, .user_code = with_dash(code)};
}

DeviceGrants::Table::iterator DeviceGrants::pending(std::string_view user_code, Instant now) {
  const auto named = by_user_code_.find(normalised(user_code));
  if (named == by_user_code_.end()) return grants_.end();
  const auto found = grants_.find(named->second);
  const bool good = found != grants_.end() && found->second.grant.state == GrantState::Pending &&
                    now - found->second.grant.started < kGrantLife;
  return good ? found : grants_.end();
}

const DeviceGrant* DeviceGrants::find(std::string_view user_code, Instant now) const {
  auto& self = const_cast<DeviceGrants&>(*this);  // pending() gives an iterator, and changes nothing
  const auto found = self.pending(user_code, now);
  return found == self.grants_.end() ? nullptr : &found->second.grant;
}

bool DeviceGrants::approve(std::string_view user_code, std::uint64_t device_id, std::string account, Instant now) {
  const auto found = pending(user_code, now);
  if (found == grants_.end()) return false;
  found->second.grant.state = GrantState::Approved;
  found->second.grant.device_id = device_id;
  found->second.grant.account = std::move(account);
  return true;
}

bool DeviceGrants::deny(std::string_view user_code, Instant now) {
  const auto found = pending(user_code, now);
  if (found == grants_.end()) return false;
  found->second.grant.state = GrantState::Denied;
  return true;
}

PollOutcome DeviceGrants::poll(std::string_view device_code, Instant now, const DeviceGrant*& grant) {
  grant = nullptr;
  const auto found = grants_.find(digest_of(device_code));
  if (found == grants_.end() || now - found->second.grant.started >= kGrantLife) return PollOutcome::Expired;
  Entry& entry = found->second;
  grant = &entry.grant;
  if (entry.grant.state == GrantState::Approved) return PollOutcome::Approved;
  if (entry.grant.state == GrantState::Denied) return PollOutcome::Denied;
  // Half a second of grace: the device's timer and ours do not agree to the millisecond.
  const bool early = entry.last_poll && now - *entry.last_poll < entry.interval - std::chrono::milliseconds(500);
  entry.last_poll = now;
  if (!early) return PollOutcome::Pending;
  entry.interval += std::chrono::seconds(5);  // RFC 8628 §3.5
  return PollOutcome::SlowDown;
}

void DeviceGrants::expire(Instant now) {
  std::erase_if(grants_, [&](const auto& each) { return now - each.second.grant.started >= kGrantLife; });
  std::erase_if(by_user_code_, [&](const auto& each) { return !grants_.contains(each.second); });
}

}  // namespace postern::server
