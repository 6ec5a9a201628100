#include "services/server/relay_names.hpp"

#include <algorithm>

namespace postern::server {

void RelayNames::follow() {
  for (const controller::RelayRecord& relay : host_.controller().relays()) {
    for (const std::string& text : relay.addresses) {
      const auto name = PublicAddress::parse_name(text);
      if (!name || watches_.contains(text)) continue;
      if (watches_.size() >= kWatchesMax) {
        log_.warn("Too many names of relays were given since the start; this one is looked up after a restart",
                  {{"relay", relay.name}, {"address", text}});
        continue;
      }
      Watch& watch = watches_[text];
      watch.watch = std::make_unique<AddressWatch>(loop_, *name, [this, text](const std::vector<SocketAddress>& found) {
        watches_.at(text).found = found;
        if (found.empty()) log_.warn("The name of a relay is not known here", {{"address", text}});
        follow();
      });
    }
    tell(relay);
  }
}

void RelayNames::tell(const controller::RelayRecord& relay) {
  std::vector<SocketAddress> all;
  for (const std::string& text : relay.addresses) {
    const auto watch = watches_.find(text);
    if (watch != watches_.end()) all.insert(all.end(), watch->second.found.begin(), watch->second.found.end());
  }
  std::vector<SocketAddress>& told = told_[relay.id];
  if (told == all) return;
  told = all;
  host_.set_relay_names(relay.id, std::move(all));
}

}  // namespace postern::server
