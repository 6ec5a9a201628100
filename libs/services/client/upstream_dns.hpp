// Sockets for the questions that the forwarder passes on: one for each try, so that every question has a port of its
// own.
#pragma once

#include <map>
#include <optional>

#include "resolver/forwarder.hpp"
#include "runtime/loop/descriptor.hpp"
#include "runtime/loop/event_loop.hpp"

namespace postern::client {

class UpstreamDns {
 public:
  /// Both outlive this object.
  UpstreamDns(runtime::EventLoop& loop, resolver::Forwarder& forwarder) : loop_(loop), forwarder_(forwarder) {}
  ~UpstreamDns();
  UpstreamDns(const UpstreamDns&) = delete;
  UpstreamDns& operator=(const UpstreamDns&) = delete;

  /// Sends what the forwarder has queued and closes what is done with.
  void settle(Instant now);

 private:
  struct Exchange {
    runtime::Descriptor socket;
    wire::DnsTransport transport = wire::DnsTransport::Udp;
    Bytes outgoing;  ///< TCP: length and question, until the connection takes them
    Bytes incoming;
  };

  [[nodiscard]] bool start(const resolver::UpstreamQuery& query);
  void handle_ready(resolver::Ticket ticket, std::uint32_t events);
  void handle_datagrams(resolver::Ticket ticket, Exchange& exchange);
  void handle_stream(resolver::Ticket ticket, Exchange& exchange);
  void close(resolver::Ticket ticket);

  runtime::EventLoop& loop_;
  resolver::Forwarder& forwarder_;
  std::map<resolver::Ticket, Exchange> exchanges_;
};

}  // namespace postern::client
