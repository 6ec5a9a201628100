#include "path/candidate_message.hpp"

#include <algorithm>

namespace postern::path {

namespace {

wire::CandidateKind to_wire(CandidateKind kind) {
  switch (kind) {
    case CandidateKind::Host:
      return wire::CANDIDATE_KIND_HOST;
    case CandidateKind::Reflexive:
      return wire::CANDIDATE_KIND_REFLEXIVE;
    case CandidateKind::Mapped:
      break;
  }
  return wire::CANDIDATE_KIND_MAPPED;
}

std::optional<CandidateKind> from_wire(wire::CandidateKind kind) {
  switch (kind) {
    case wire::CANDIDATE_KIND_HOST:
      return CandidateKind::Host;
    case wire::CANDIDATE_KIND_REFLEXIVE:
      return CandidateKind::Reflexive;
    case wire::CANDIDATE_KIND_MAPPED:
      return CandidateKind::Mapped;
    default:
      return std::nullopt;  // of a later version
  }
}

}  // namespace

wire::Candidates to_message(std::uint32_t round, const LocalView& local) {
  wire::Candidates message;
  message.set_round(round);
  message.set_maps_per_destination(maps_per_destination(local));
  for (const Candidate& candidate : gather(local)) {
    wire::Candidate& entry = *message.add_candidates();
    entry.set_address(std::string(as_text(candidate.address.ip.bytes())));
    entry.set_port(candidate.address.port);
    entry.set_kind(to_wire(candidate.kind));
  }
  return message;
}

std::vector<Candidate> from_message(const wire::Candidates& message) {
  std::vector<Candidate> candidates;
  const int count = std::min<int>(message.candidates_size(), kCandidatesMax);
  for (int i = 0; i < count; ++i) {
    const wire::Candidate& entry = message.candidates(i);
    const auto ip = IpAddress::from_bytes(as_bytes(entry.address()));
    const auto kind = from_wire(entry.kind());
    if (!ip || !kind || entry.port() > 65'535) continue;
    candidates.push_back({*kind, {*ip, static_cast<std::uint16_t>(entry.port())}});
  }
  return candidates;
}

}  // namespace postern::path
