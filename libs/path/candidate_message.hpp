// Candidates as the control stream carries them (PROTOCOL.md §4.6).
#pragma once

#include <vector>

#include "path/candidate.hpp"
#include "schema/session.pb.h"

namespace postern::path {

[[nodiscard]] wire::Candidates to_message(std::uint32_t round, const LocalView& local);
/// What can be understood of the first kCandidatesMax entries.
[[nodiscard]] std::vector<Candidate> from_message(const wire::Candidates& message);

}  // namespace postern::path
