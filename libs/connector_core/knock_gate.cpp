#include "connector_core/knock_gate.hpp"

#include "identity/tokens.hpp"

namespace postern::connector {

std::expected<session::Knock, session::DropReason> KnockGate::verify(Instant now, ByteView token) const {
  if (token.empty()) return std::unexpected(session::DropReason::KnockMissing);
  if (!is_ready()) return std::unexpected(session::DropReason::KnockInvalid);
  const auto knock = identity::verify_knock(token, key_, instance_.value, clock_.at(now));
  if (knock) return session::Knock{knock->device};
  const bool expired = knock.error() == identity::KnockError::Expired;
  return std::unexpected(expired ? session::DropReason::KnockExpired : session::DropReason::KnockInvalid);
}

}  // namespace postern::connector
