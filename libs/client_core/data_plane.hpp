// Sessions, peers and flows of one route id, in the order in which they refer to each other.
#pragma once

#include "client_core/client.hpp"

namespace postern::client {

struct Client::DataPlane {
  struct Shared {
    const Directory& directory;
    resolver::AddressPool& addresses;
    tcp::Endpoint& tcp;
    BlockPool& pool;
    RandomSource& random;
  };

  DataPlane(session::EndpointConfig session_config, PeersConfig peers_config, FlowsConfig flows_config, Shared shared)
      : sessions(std::move(session_config), shared.pool, shared.random, nullptr),
        peers(std::move(peers_config), shared.directory, sessions, shared.pool),
        tun(shared.tcp),
        flows(flows_config, {shared.directory, shared.addresses, peers, sessions, tun, shared.pool}) {}

  session::Endpoint sessions;
  Peers peers;
  TunApplications tun;
  Flows flows;
};

}  // namespace postern::client
