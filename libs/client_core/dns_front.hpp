// The resolver's address inside the TUN: DNS over UDP (packets) and over TCP (connections of the TCP endpoint).
//
// Addresses of Resources are answered here, other questions about them by their connectors; all else is passed to the
// servers of before by the owner's sockets.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <unordered_map>
#include <variant>

#include "base/block.hpp"
#include "client_core/directory.hpp"
#include "client_core/questions.hpp"
#include "resolver/forwarder.hpp"
#include "resolver/resolver.hpp"
#include "tcp/endpoint.hpp"

namespace postern::client {

/// The names of the controller's Resources, without the server's own: it must be found when nothing else works.
class ResourceNames final : public resolver::NameDirectory {
 public:
  explicit ResourceNames(const Directory& directory) : directory_(directory) {}
  void set_server_host(std::optional<model::DnsName> host) { server_host_ = std::move(host); }
  /// The proxy on the way to the server.
  void set_proxy_host(std::optional<model::DnsName> host) { proxy_host_ = std::move(host); }
  [[nodiscard]] bool has_resource_for(const model::DnsName& name) const override {
    const model::Resource* resource = directory_.table().match(name);
    return resource != nullptr && !resource->is_bypass() && !is_server_host(name) && !is_proxy_host(name);
  }
  [[nodiscard]] bool is_server_host(const model::DnsName& name) const { return name == server_host_; }
  [[nodiscard]] bool is_proxy_host(const model::DnsName& name) const { return name == proxy_host_; }

 private:
  const Directory& directory_;
  std::optional<model::DnsName> server_host_;
  std::optional<model::DnsName> proxy_host_;
};

struct DnsDatagram {
  SocketAddress from;  ///< the resolver's address
  SocketAddress to;
  Bytes message;
};

class DnsFront {
 public:
  static constexpr std::uint16_t kPort = 53;
  /// Connections of DNS over TCP; further ones are answered with RST.
  static constexpr std::size_t kConnectionsMax = 64;
  /// Questions of one connection that wait for an answer; then its window stays closed.
  static constexpr std::size_t kQuestionsMax = 16;

  /// Questions for connectors that wait for an answer; further ones get SERVFAIL.
  static constexpr std::size_t kRecordQuestionsMax = 128;

  /// A connection without a question for this long is closed (RFC 7766 §6.2.3), so that nobody holds all of them.
  static constexpr Duration kIdle = std::chrono::seconds(10);

  DnsFront(resolver::AddressPool& pool, const ResourceNames& names, RandomSource& random, tcp::Endpoint& tcp,
           BlockPool& blocks)
      : resolver_(pool, names), forwarder_(random), tcp_(tcp), blocks_(blocks) {}

  void set_answers_ipv6(bool answers) { resolver_.set_answers_ipv6(answers); }
  void handle_datagram(Instant now, const SocketAddress& from, const SocketAddress& to, ByteView message);
  /// A connection to the resolver's port 53.
  void handle_incoming(Instant now, tcp::FlowId flow);
  /// False for flows that are not of this front.
  bool handle_event(Instant now, const tcp::Event& event);

  /// What a connector is to be asked; each wants handle_records() once.
  struct RecordQuestion {
    std::uint64_t id = 0;
    model::DnsName name;
    wire::DnsType type{};
  };
  [[nodiscard]] std::optional<RecordQuestion> poll_question();
  void handle_records(Instant now, std::uint64_t id, const Records& records);

  /// Call after anything above and after the forwarder has been given answers.
  void settle(Instant now);
  [[nodiscard]] std::optional<DnsDatagram> poll_datagram();
  /// The forwarder's timers too.
  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Instant> next_timeout() const;

  [[nodiscard]] resolver::Forwarder& forwarder() { return forwarder_; }
  [[nodiscard]] const resolver::Forwarder& forwarder() const { return forwarder_; }
  [[nodiscard]] const resolver::Resolver& resolver() const { return resolver_; }

 private:
  struct UdpAsker {
    SocketAddress client;
    SocketAddress resolver;
  };
  using Asker = std::variant<UdpAsker, tcp::FlowId>;
  struct Connection {
    Bytes received;
    std::size_t waiting = 0;
    std::size_t withheld = 0;
    bool finished = false;
    Instant active;  ///< when something was last asked or answered
  };

  void ask(Instant now, const Asker& asker, ByteView message);
  [[nodiscard]] resolver::AskerId remember(const Asker& asker);
  void deliver(Instant now, resolver::AskerId id, Bytes message);
  void answer(Instant now, const Asker& asker, Bytes message);
  void answer_stream(Instant now, tcp::FlowId flow, const Bytes& message);
  void read_questions(Instant now, tcp::FlowId flow);
  /// When this connection is closed; nothing while a question waits, because the forwarder answers or gives up.
  [[nodiscard]] static std::optional<Instant> end_of(const Connection& connection);

  resolver::Resolver resolver_;
  resolver::Forwarder forwarder_;
  tcp::Endpoint& tcp_;
  BlockPool& blocks_;
  std::uint64_t asker_numbers_ = 0;
  std::map<resolver::AskerId, Asker> askers_;  ///< bounded by the forwarder's table and waiting_
  std::map<resolver::AskerId, std::pair<wire::DnsQuery, wire::DnsTransport>> waiting_;  ///< for connectors
  std::deque<RecordQuestion> questions_;
  std::unordered_map<tcp::FlowId, Connection> connections_;
  std::deque<DnsDatagram> datagrams_;
};

}  // namespace postern::client
