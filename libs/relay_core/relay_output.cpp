#include "relay_core/relay_output.hpp"

namespace postern::relay_core {

std::string_view to_string(RelayDrop reason) {
  switch (reason) {
    case RelayDrop::UnknownFirstByte:
      return "unknown_first_byte";
    case RelayDrop::StunMalformed:
      return "stun_malformed";
    case RelayDrop::StunUnwanted:
      return "stun_unwanted";
    case RelayDrop::BindTooSmall:
      return "bind_too_small";
    case RelayDrop::BindIncomplete:
      return "bind_incomplete";
    case RelayDrop::BindBadMac:
      return "bind_bad_mac";
    case RelayDrop::BindingRateLimited:
      return "binding_rate_limited";
    case RelayDrop::AnswerSpaceFull:
      return "answer_space_full";
    case RelayDrop::QuicTooShort:
      return "quic_too_short";
    case RelayDrop::QuicWrongVersion:
      return "quic_wrong_version";
    case RelayDrop::QuicWrongIdLength:
      return "quic_wrong_id_length";
    case RelayDrop::SourceNotBound:
      return "source_not_bound";
    case RelayDrop::LongHeaderLimited:
      return "long_header_limited";
    case RelayDrop::RouteNotBound:
      return "route_not_bound";
    case RelayDrop::OtherNetwork:
      return "other_network";
    case RelayDrop::SameRole:
      return "same_role";
    case RelayDrop::ByteRateLimited:
      return "byte_rate_limited";
  }
  return "unknown";
}

std::string_view to_string(BindOutcome outcome) {
  switch (outcome) {
    case BindOutcome::Accepted:
      return "accepted";
    case BindOutcome::Repeated:
      return "repeated";
    case BindOutcome::NonceWanted:
      return "nonce_wanted";
    case BindOutcome::NonceStale:
      return "nonce_stale";
    case BindOutcome::BadToken:
      return "bad_token";
    case BindOutcome::TicketOutdated:
      return "ticket_outdated";
    case BindOutcome::Replayed:
      return "replayed";
    case BindOutcome::Revoked:
      return "revoked";
    case BindOutcome::Full:
      return "full";
  }
  return "unknown";
}

}  // namespace postern::relay_core
