#include "path/choice.hpp"

#include <algorithm>
#include <array>

#include "path/candidate.hpp"

namespace postern::path {

namespace {

Duration cost(const ProvenRemote& proven) {
  Duration cost = proven.round_trip;
  if (proven.remote.ip.is_v6()) cost -= kIpv6Bonus;
  if (is_private(proven.remote.ip)) cost -= kLanBonus;
  return cost;
}

constexpr std::array<std::string_view, static_cast<std::size_t>(RelayReason::kCount)> kSentences = {
    "",
    "the session is being made",
    "UDP does not get out of this network: allow UDP to port 443 and to other peers",
    "this host has no address that a peer could use",
    "the connector has not said where it may be reached",
    "the connector has no address that may be tried from here",
    "a direct path is being looked for",
    "no check was answered: a firewall, or a NAT that gives each destination another port, is between them; IPv6 or a "
    "port mapping on one side would help",
    "a NAT gives each destination another port: IPv6 or a port mapping on one side would help",
    "checks get through but packets of the session do not; it is tried again later",
    "the direct path fell silent; another one is looked for",
    "no flow needs a direct path now",
};

}  // namespace

std::optional<ProvenRemote> choose(std::span<const ProvenRemote> proven, const std::optional<SocketAddress>& current) {
  if (proven.empty()) return std::nullopt;
  const ProvenRemote& best = *std::ranges::min_element(proven, {}, cost);
  const auto present = std::ranges::find_if(proven, [&](const ProvenRemote& each) { return each.remote == current; });
  if (present == proven.end()) return best;
  const Duration margin = std::max<Duration>(kHysteresis, present->round_trip / 10);
  return cost(best) + margin < cost(*present) ? best : *present;
}

std::string_view sentence(RelayReason reason) {
  return kSentences.at(static_cast<std::size_t>(reason));
}

}  // namespace postern::path
