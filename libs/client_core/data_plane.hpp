// Sessions, peers and flows of one route id, in the order in which they refer to each other.
#pragma once

#include "client_core/client.hpp"
#include "client_core/datagram_flows.hpp"
#include "client_core/direct_paths.hpp"
#include "client_core/questions.hpp"
#include "identity/keys.hpp"

namespace postern::client {

struct Client::DataPlane {
  struct Shared {
    const Directory& directory;
    resolver::AddressPool& addresses;
    tcp::Endpoint& tcp;
    BlockPool& pool;
    RandomSource& random;
  };

  DataPlane(session::EndpointConfig session_config, PeersConfig peers_config, FlowsConfig flows_config,
            DatagramFlowsConfig datagrams_config, DirectPathsConfig direct_config, Shared shared)
      : sessions(std::move(session_config), shared.pool, shared.random, nullptr),
        peers(std::move(peers_config), shared.directory, sessions, shared.pool),
        direct(direct_config, sessions, shared.random, &identity::hmac_sha256),
        tun(shared.tcp),
        flows(flows_config, {shared.directory, shared.addresses, peers, sessions, tun, shared.pool}),
        datagrams(datagrams_config, flows_config, {shared.directory, shared.addresses, peers, sessions, shared.pool}),
        questions(flows_config, {shared.directory, shared.addresses, peers, sessions, shared.pool}) {}

  /// Flows of every kind that wait for an instance.
  [[nodiscard]] std::size_t held() const { return flows.held() + datagrams.held() + questions.held(); }
  void retry_held(Instant now) {
    flows.retry_held(now);
    datagrams.retry_held(now);
    questions.retry_held(now);
  }
  void end_flows(Instant now) {
    flows.abort_all(now);
    datagrams.end_all(now);
    questions.end_all();
    peers.close_all(now);
  }

  session::Endpoint sessions;
  Peers peers;
  DirectPaths direct;
  TunApplications tun;
  Flows flows;
  DatagramFlows datagrams;
  Questions questions;
};

}  // namespace postern::client
