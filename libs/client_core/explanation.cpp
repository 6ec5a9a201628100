#include "client_core/explanation.hpp"

#include <algorithm>

#include "base/link_address.hpp"
#include "client_core/client.hpp"
#include "client_core/data_plane.hpp"

namespace postern::client {

namespace {

constexpr std::array<std::string_view, 9> kVerdicts = {
    "reached", "refused", "held", "own_server", "resolver", "protected", "local_network", "never_routed", "no_room"};
constexpr std::array<std::string_view, 4> kProtections = {
    "a gateway of this computer", "a DNS server that this computer uses", "the Postern server", "the relay"};

std::string quoted(const std::string& text) {
  return "\"" + text + "\"";
}

std::string seconds_text(Duration duration) {
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(duration).count();
  return seconds < 120 ? std::to_string(seconds) + " s" : std::to_string(seconds / 60) + " min";
}

bool is_local(const IpPrefix& prefix) {
  static const std::array<IpPrefix, 4> kNot = {*IpPrefix::parse("127.0.0.0/8"), *IpPrefix::parse("::1"),
                                               *IpPrefix::parse("fe80::/10"), *IpPrefix::parse("ff00::/8")};
  return prefix.length() > 0 &&
         std::ranges::none_of(kNot, [&](const IpPrefix& other) { return other.overlaps(prefix); });
}

/// The longest of these that contains the address: the kernel's choice.
std::optional<IpPrefix> longest(const std::vector<IpPrefix>& networks, const IpAddress& address) {
  std::optional<IpPrefix> best;
  for (const IpPrefix& network : networks) {
    if (!is_local(network) || !network.contains(address)) continue;
    if (!best || network.length() > best->length()) best = network;
  }
  return best;
}

std::string why_not(const model::Resource& winner, const model::Resource& other, const Destination& destination) {
  const auto is_literal = [&](const model::Resource& resource) {
    const auto* name = std::get_if<model::DnsName>(&destination.host);
    return name != nullptr && std::ranges::find(resource.aliases, *name) != resource.aliases.end();
  };
  const bool less_specific = is_literal(winner) != is_literal(other) ? is_literal(winner) && !other.address.is_literal()
                                                                     : winner.address.more_specific_than(other.address);
  if (less_specific) return "less specific";
  if (winner.priority != other.priority) {
    return "equally specific, with the lower priority " + std::to_string(other.priority) + " against " +
           std::to_string(winner.priority);
  }
  return winner.remote_network != other.remote_network
             ? "equally specific, in another remote network: the resource that was made first wins"
             : "equally specific: the resource that was made first wins";
}

}  // namespace

std::string_view describe(Protection why) {
  return kProtections[static_cast<std::size_t>(why)];
}

std::string_view verdict_word(const Explanation& explanation) {
  if (explanation.refusal) return to_string(*explanation.refusal);
  return kVerdicts[static_cast<std::size_t>(explanation.verdict)];
}

/// Fills one Explanation, step by step; each step may end it with a verdict.
class Client::Explainer {
 public:
  Explainer(const Client& client, Instant now, const HostFacts& host, Explanation& out)
      : client_(client), now_(now), host_(host), out_(out) {}

  void run() {
    Destination to = out_.destination;
    if (!resolve(to)) return;
    const Decision decision = decide(client_.wall(now_), client_.directory_, to);
    describe_resources(to, decision);
    describe_server();
    if (decision.resource != nullptr && decision.resource->is_bypass()) return bypass(*decision.resource);
    if (decision.resource != nullptr && !check_route()) return;
    if (decision.refusal) return refuse(decision, to);
    describe_instances(decision.resource->remote_network);
    place(*decision.resource);
  }

 private:
  void end(ExplainVerdict verdict, std::string reason) {
    out_.verdict = verdict;
    out_.reason = std::move(reason);
  }

  /// From what was typed to what decides: a virtual address stands for its name. False: it ends here.
  bool resolve(Destination& to) {
    const auto& network = client_.addresses_.network();
    if (const auto* address = std::get_if<IpAddress>(&to.host); address != nullptr && network.contains(*address)) {
      if (network.is_resolver(*address)) {
        end(ExplainVerdict::Resolver,
            "this is where Postern's own resolver answers: TCP and UDP port 53, nothing else");
        return false;
      }
      const model::DnsName* name = client_.addresses_.look_up(*address);
      if (name == nullptr) {
        out_.refusal = FlowRefusal::UnknownName;
        end(ExplainVerdict::Refused, "this address is in Postern's range " + network.of(address->family()).to_string() +
                                         " but stands for no name: look the name up again");
        return false;
      }
      to.host = *name;
    }
    const auto* name = std::get_if<model::DnsName>(&to.host);
    if (name == nullptr) return true;
    out_.name = name->text();
    if (client_.names_.is_server_host(*name)) {
      end(ExplainVerdict::OwnServer,
          "this is the name of the Postern server itself, which is always reached directly, never as a resource");
      return false;
    }
    if (client_.names_.is_proxy_host(*name)) {
      end(ExplainVerdict::OwnServer,
          "this is the name of the proxy on the way to the Postern server, which is always reached directly");
      return false;
    }
    const auto number = client_.addresses_.number_of(*name);
    if (number) out_.virtual_addresses.push_back(network.at(IpFamily::V4, *number));
    if (number && client_.config_.ipv6) out_.virtual_addresses.push_back(network.at(IpFamily::V6, *number));
    return true;
  }

  [[nodiscard]] std::string network_name(model::RemoteNetworkId id) const {
    const Lease* lease = client_.directory_.find_lease(id);
    return lease != nullptr ? lease->remote_network_name : "#" + std::to_string(id.value);
  }

  [[nodiscard]] ExplainedResource explained(const model::Resource& resource, const Destination& to) const {
    ExplainedResource out{resource.id.value,
                          resource.name,
                          resource.address.text(),
                          resource.address.text(),
                          network_name(resource.remote_network),
                          ports_text(resource.tcp),
                          ports_text(resource.udp),
                          resource.allow_icmp,
                          ""};
    const auto* name = std::get_if<model::DnsName>(&to.host);
    const bool by_alias = name != nullptr && std::ranges::find(resource.aliases, *name) != resource.aliases.end();
    if (by_alias) out.matched_by = "alias " + name->text();
    return out;
  }

  void describe_resources(const Destination& to, const Decision& decision) {
    const auto& table = client_.directory_.table();
    const auto all = std::visit([&](const auto& host) { return table.matches(host); }, to.host);
    for (const model::Resource* resource : all) {
      if (resource == decision.resource) {
        out_.resource = explained(*resource, to);
        continue;
      }
      ExplainedResource& other = out_.others.emplace_back(explained(*resource, to));
      other.why_not = why_not(*decision.resource, *resource, to);
    }
    if (decision.lease != nullptr) out_.lease_expires_at = decision.lease->expires_at;
  }

  void describe_server() {
    out_.relay = client_.relay_.status(now_);
    if (client_.control_up_) return;
    const std::string why = client_.control_failure_.empty() ? "" : ": " + client_.control_failure_;
    out_.notes.push_back(client_.control_lost_at_
                             ? "the controller has been away for " + seconds_text(now_ - *client_.control_lost_at_) +
                                   why + "; what it said last is used"
                             : "the controller has not been reached yet" + why);
  }

  /// Of an address: what the kernel does with it. True when it comes into the TUN. Names always do.
  bool check_route() {
    const auto* address = std::get_if<IpAddress>(&out_.destination.host);
    if (address == nullptr || !out_.name.empty()) return true;
    const RouteRequest request = client_.route_request(host_);
    const AddressRoute route = route_of(request, plan_routes(request), *address);
    const auto local = longest(host_.local_networks, *address);
    const std::string resource = quoted(out_.resource->name);
    switch (route.fate) {
      case RouteFate::Protected:
        end(ExplainVerdict::Protected, "resource " + resource + " covers it, but it is " + protection_of(*address) +
                                           ", which is never routed into Postern");
        return false;
      case RouteFate::NeverRouted:
      case RouteFate::NotWanted:
        end(ExplainVerdict::NeverRouted,
            "loopback, link-local, multicast and reserved addresses are never routed into Postern");
        return false;
      case RouteFate::NoRoom:
        end(ExplainVerdict::NoRoom,
            "resource " + resource + " has no route: there are more than " + std::to_string(kRoutesMax) + " of them");
        return false;
      case RouteFate::Local:
        end(ExplainVerdict::LocalNetwork,
            "resource " + resource + " covers it, but this computer is itself in the network " +
                route.prefix.to_string() + ", which wins: give the resource a name or an alias and use that");
        return false;
      case RouteFate::Routed:
        break;
    }
    if (local) {
      out_.notes.push_back("this computer is itself in the network " + local->to_string() +
                           ": a local device with this address is not reached while Postern is connected");
    }
    return true;
  }

  [[nodiscard]] std::string protection_of(const IpAddress& address) const {
    const auto found = std::ranges::find(host_.protected_addresses, address, &ProtectedAddress::address);
    return std::string(describe(found == host_.protected_addresses.end() ? Protection::Relay : found->why));
  }

  void bypass(const model::Resource& resource) {
    out_.refusal = FlowRefusal::NoResource;
    end(ExplainVerdict::Refused, "resource " + quoted(resource.name) + " says that it bypasses Postern: it is " +
                                     (out_.name.empty() ? "reached as if Postern were not there"
                                                        : "looked up and reached as if Postern were not there"));
  }

  [[nodiscard]] static std::string not_allowed(const Destination& to, const model::Resource& resource) {
    if (to.protocol == model::Protocol::Icmp) return "ICMP echo requests";
    const bool is_udp = to.protocol == model::Protocol::Udp;
    return std::string(is_udp ? "UDP" : "TCP") + " port " + std::to_string(*to.port) +
           ", only: " + ports_text(is_udp ? resource.udp : resource.tcp);
  }

  void refuse(const Decision& decision, const Destination& to) {
    out_.refusal = decision.refusal;
    switch (*decision.refusal) {
      case FlowRefusal::PortNotAllowed:
        return end(ExplainVerdict::Refused, "resource " + quoted(decision.resource->name) + " does not allow " +
                                                not_allowed(to, *decision.resource));
      case FlowRefusal::NoLease:
        return end(ExplainVerdict::Refused,
                   decision.lease == nullptr
                       ? "there is no lease for the remote network of resource " + quoted(decision.resource->name)
                       : "the lease for the remote network " + quoted(decision.lease->remote_network_name) +
                             " has expired " + seconds_text(client_.wall(now_) - decision.lease->expires_at) +
                             " ago: it is renewed when the controller can be reached");
      default:
        break;
    }
    if (!client_.directory_.is_loaded())
      return end(ExplainVerdict::Refused, "the controller has not yet said what there is");
    end(ExplainVerdict::Refused, out_.name.empty()
                                     ? "no resource that you may reach covers this address: it is reached as if "
                                       "Postern were not there"
                                     : "no resource that you may reach has this name: it is looked up and reached as "
                                       "if Postern were not there");
  }

  void describe_instances(model::RemoteNetworkId network) {
    if (!client_.plane_) return;
    const Peers& peers = client_.plane_->peers;
    const auto chosen = peers.would_choose(now_, network);
    for (const auto& candidate : peers.rank(now_, network, {})) {
      ExplainedInstance& entry = out_.instances.emplace_back();
      entry.id = candidate.instance.value;
      entry.chosen = candidate.instance == chosen;
      const Instance* listed = client_.directory_.find_instance(candidate.instance);
      const Peer* peer = peers.find(candidate.instance);
      entry.connector = listed != nullptr ? listed->connector_name : peer->instance.connector_name;
      entry.state = peer != nullptr ? state_word(*peer) : "no session";
      entry.why = why(candidate, peer, entry.chosen);
      const auto stats =
          peer != nullptr && peer->session ? client_.plane_->sessions.stats(*peer->session) : std::nullopt;
      if (!stats) continue;
      entry.path = stats->path.label == 0 ? "relay" : "direct";
      entry.transport = transport_word(stats->path.remote);
      entry.remote = client_.remote_text(stats->path.remote);
      if (peer->stage == PeerStage::Ready) entry.round_trip = stats->smoothed_rtt;
    }
  }

  [[nodiscard]] std::string why(const Peers::Candidate& candidate, const Peer* peer, bool chosen) const {
    switch (candidate.fitness) {
      case Peers::Fitness::Unfit:
        if (peer->leaving) return "it stops, and takes no new connections";
        return "the last attempt failed (" + peer->failure + "), the next is in " +
               seconds_text(peer->retry_after - now_);
      case Peers::Fitness::Suspect:
        return "it does not answer at the moment";
      case Peers::Fitness::Draining:
        return peer == nullptr || peer->listing == Listing::Listed
                   ? "an admin drains it: new connections go there only if no other can"
                   : "the controller does not list it at the moment";
      case Peers::Fitness::Good:
        break;
    }
    if (chosen) return "first in the order that this device has for the instances";
    return "it would take over if those before it failed";
  }

  void place(const model::Resource& resource) {
    const bool is_chosen = std::ranges::any_of(out_.instances, &ExplainedInstance::chosen);
    if (is_chosen)
      return end(ExplainVerdict::Reached, "a connection would be made through resource " + quoted(resource.name));
    const bool has_relay = client_.plane_ && client_.plane_->peers.has_relay();
    const auto missing = has_relay ? FlowRefusal::NoInstance : FlowRefusal::NoRelay;
    out_.refusal = missing;
    std::string reason = has_relay ? no_instance(resource) : no_relay();
    // As Flows::place() does.
    const bool is_held = client_.plane_ && (client_.is_unsettled(now_) ||
                                            client_.plane_->peers.awaits_successor(now_, resource.remote_network));
    if (!is_held) return end(ExplainVerdict::Refused, std::move(reason));
    end(ExplainVerdict::Held, std::move(reason) + "; a connection made now would wait some seconds for it");
  }

  [[nodiscard]] std::string no_instance(const model::Resource& resource) const {
    const std::string where = "the remote network " + quoted(network_name(resource.remote_network));
    if (out_.instances.empty()) return "no connector of " + where + " is online";
    return "none of the connectors of " + where + " can be reached: " + out_.instances.front().why;
  }

  [[nodiscard]] std::string no_relay() const {
    if (!out_.relay) return "the controller has named no relay";
    return "the relay " + out_.relay->address + " does not answer over UDP: run `postern doctor`";
  }

  const Client& client_;
  Instant now_;
  const HostFacts& host_;
  Explanation& out_;
};

Explanation Client::explain(Instant now, const Destination& destination, const HostFacts& host) const {
  Explanation explanation;
  explanation.destination = destination;
  Explainer(*this, now, host, explanation).run();
  return explanation;
}

RouteRequest Client::route_request(const HostFacts& host) const {
  RouteRequest request{wanted_routes(), {}, host.local_networks};
  const auto protect = [&](const IpAddress& address) {
    request.protected_prefixes.push_back(IpPrefix::containing(address, address.is_v4() ? 32 : 128));
  };
  for (const ProtectedAddress& entry : host.protected_addresses) protect(entry.address);
  for (const IpAddress& relay : relay_addresses()) protect(relay);
  for (const IpAddress& address : bypassed_addresses()) protect(address);
  return request;
}

std::vector<std::string> Client::route_notes(const HostFacts& host) const {
  std::vector<std::string> notes;
  const auto say = [&](const model::Resource& resource, const std::string& text) {
    if (notes.size() < kNotesMax) {
      notes.push_back("resource " + quoted(resource.name) + " (" + resource.address.text() + ") " + text);
    }
  };
  std::vector<ProtectedAddress> guarded = host.protected_addresses;
  for (const IpAddress& relay : relay_addresses()) guarded.push_back({relay, Protection::Relay});
  for (const auto& [id, resource] : directory_.table().all()) {
    const auto* prefix = std::get_if<IpPrefix>(&resource.address.value());
    if (prefix == nullptr || resource.is_bypass()) continue;
    std::set<IpAddress> named;
    for (const ProtectedAddress& entry : guarded) {
      if (!prefix->contains(entry.address) || !named.insert(entry.address).second) continue;
      say(resource, "covers " + entry.address.to_string() + ", " + std::string(describe(entry.why)) +
                        ": that address is not routed into Postern");
    }
    std::set<IpPrefix> local(host.local_networks.begin(), host.local_networks.end());
    for (const IpPrefix& network : local) {
      if (!is_local(network) || !network.overlaps(*prefix)) continue;
      const bool wins = network.length() >= prefix->length();
      say(resource, (network == *prefix ? "is also the network that this computer is in"
                                        : "overlaps the network " + network.to_string() + " that this computer is in") +
                        (wins ? ": the local one is reached, not the resource"
                              : ": the resource is reached, a local device with the same address is not"));
    }
  }
  return notes;
}

}  // namespace postern::client
