// The application's end of a flow, as Flows sees it: a TCP connection that came out of the TUN, or a stream of a local
// proxy. Flows gives orders here; what the application does comes back as tcp::Event, whichever side it is.
//
// The rules are those of tcp::Endpoint: no Data before accept(), window comes back only by grant(), orders for an id
// that has ended are ignored. An order never calls back: what it causes is told as an event later in the turn.
#pragma once

#include "client_core/flow_target.hpp"
#include "tcp/endpoint.hpp"

namespace postern::client {

/// Ids of flows that did not come out of the TUN have this bit; tcp::Endpoint counts from 1 and never gets there.
inline constexpr std::uint64_t kLocalFlowBit = 1ULL << 63;

/// Why an application is refused, and what TCP says about it.
struct FlowDenial {
  FlowRefusal reason = FlowRefusal::NoResource;
  tcp::Refusal answer = tcp::Refusal::AdminProhibited;
};

class ApplicationSide {
 public:
  virtual ~ApplicationSide() = default;
  virtual void accept(Instant now, tcp::FlowId flow) = 0;
  virtual void refuse(Instant now, tcp::FlowId flow, const FlowDenial& denial) = 0;
  /// Bytes that send() takes now.
  [[nodiscard]] virtual std::size_t sendable(tcp::FlowId flow) const = 0;
  virtual void send(Instant now, tcp::FlowId flow, Slice bytes) = 0;
  virtual void finish(Instant now, tcp::FlowId flow) = 0;
  virtual void abort(Instant now, tcp::FlowId flow) = 0;
  virtual void grant(tcp::FlowId flow, std::size_t bytes) = 0;
};

/// TCP connections of the TUN.
class TunApplications final : public ApplicationSide {
 public:
  explicit TunApplications(tcp::Endpoint& tcp) : tcp_(tcp) {}
  void accept(Instant now, tcp::FlowId flow) override { tcp_.accept(now, flow); }
  void refuse(Instant now, tcp::FlowId flow, const FlowDenial& denial) override {
    tcp_.refuse(now, flow, denial.answer);
  }
  [[nodiscard]] std::size_t sendable(tcp::FlowId flow) const override { return tcp_.sendable(flow); }
  void send(Instant now, tcp::FlowId flow, Slice bytes) override { tcp_.send(now, flow, std::move(bytes)); }
  void finish(Instant now, tcp::FlowId flow) override { tcp_.finish(now, flow); }
  void abort(Instant now, tcp::FlowId flow) override { tcp_.abort(now, flow); }
  void grant(tcp::FlowId flow, std::size_t bytes) override { tcp_.grant(flow, bytes); }

 private:
  tcp::Endpoint& tcp_;
};

}  // namespace postern::client
