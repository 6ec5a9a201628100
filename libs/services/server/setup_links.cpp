#include "services/server/setup_links.hpp"

#include "controller_core/records.hpp"
#include "identity/keys.hpp"

namespace postern::server {
namespace {

constexpr std::size_t kRecordSize = 8 + 8 + 32;  // user, expiry, digest of the token

}  // namespace

NewSetupLink make_setup_link(model::UserId user, WallTime now, RandomSource& random) {
  const std::string token = to_base64url(random.make<std::array<std::uint8_t, 32>>());
  Bytes record(kRecordSize);
  ByteWriter writer{MutableBytes(record)};
  writer.u64(user.value);
  writer.u64(static_cast<std::uint64_t>(to_unix_ms(now + kSetupLinkLife)));
  writer.view(identity::sha256(as_bytes(token)));
  return {.target = "/setup?token=" + token, .record_name = SetupLinks::record_name(user), .record = std::move(record)};
}

std::string SetupLinks::record_name(model::UserId user) {
  return controller::setup_link_secret(user);
}

void SetupLinks::add(ByteView record) {
  if (record.size() != kRecordSize) return;
  ByteReader reader(record);
  const model::UserId user(reader.u64());
  const WallTime expires = from_unix_ms(static_cast<std::int64_t>(reader.u64()));
  links_[user] = {reader.array<32>(), expires};
}

std::optional<model::UserId> SetupLinks::find(std::string_view token, WallTime now) const {
  const Digest digest = identity::sha256(as_bytes(token));
  std::optional<model::UserId> found;
  for (const auto& [user, link] : links_) {
    if (equal_constant_time(link.token, digest) && now < link.expires_at) found = user;
  }
  return found;
}

}  // namespace postern::server
