#include "client_core/status.hpp"

#include <algorithm>
#include <array>

namespace postern::client {

namespace {

constexpr std::array<std::string_view, 6> kStates = {"not-running", "offline", "authenticating",
                                                     "connecting",  "online",  "paused"};

}  // namespace

std::string_view to_string(ClientState state) {
  return kStates[static_cast<std::size_t>(state)];
}

std::string ports_text(const model::ProtocolRule& rule) {
  return rule.policy == model::PortPolicy::AllowAll ? "all" : rule.text();
}

std::optional<ClientState> parse_client_state(std::string_view text) {
  const auto* const found = std::ranges::find(kStates, text);
  if (found == kStates.end()) return std::nullopt;
  return static_cast<ClientState>(found - kStates.begin());
}

}  // namespace postern::client
