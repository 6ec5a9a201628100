// The TCP endpoint that faces the local kernel over a TUN device: it accepts the application's connections.
//
// What is special: the peer is always the same host's kernel and the "wire" is a lossless, in-order queue. So there is
// no congestion control towards it, segments are up to 64 KiB both ways (TSO), payload is never checksummed
// (CHECKSUM_PARTIAL both ways), and an idle flow holds no buffer. It must still be correct TCP: RFC 9293.
//
// Sans-IO. The owner reads packets with their virtio headers into blocks and calls handle_packet(); after a batch it
// drains poll_event(), acts, then poll_packet() until it gives nothing: acknowledgements leave once per batch.
//
// Rules for the owner
// - Every Incoming is answered by accept() or refuse(); the kernel's repeats of the SYN are taken care of meanwhile.
// - An id ends with Aborted, FlowClosed, refuse() or abort(). Events of it that are still queued may follow the owner's
//   own abort(); orders for an id that has ended are ignored, so the owner need not look.
// - Data pins the block that the packet was read into (72 KiB), for as long as the slice is kept. An owner that keeps
//   small ones (say below 2 KiB) packs them with BlockPool::copy(); the endpoint has no pool and never copies.
// - Window comes back only by grant(): call it when the bytes have been passed on, not when they arrive.
// - A packet that poll_packet() gave must be written; if the device refuses it, it counts as lost and is repeated.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/block.hpp"
#include "base/time.hpp"
#include "tcp/types.hpp"

namespace postern::tcp {

struct EndpointConfig {
  /// Device MTU; MSS offered and used is derived from it.
  std::uint16_t mtu = 1500;
  std::uint32_t flows_max = 100'000;
  /// Receive window of one flow, bytes; also the bound of Data not yet granted back.
  std::uint32_t receive_window = 2U << 20;
  /// Bytes that send() accepts beyond the acknowledged ones before sendable() is zero.
  std::uint32_t send_buffer_max = 4U << 20;
  /// Secret for initial sequence numbers (RFC 6528).
  std::array<std::uint8_t, 16> isn_key{};
};

class Endpoint {
 public:
  explicit Endpoint(EndpointConfig config);
  ~Endpoint();
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  // --- the TUN side ------------------------------------------------------------------------------------------------
  /// `vnet` is the 10-byte virtio_net_hdr as read from the device, `packet` the IP packet (TCP, v4 or v6).
  void handle_packet(Instant now, ByteView vnet, Slice packet);
  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Instant> next_timeout() const;
  [[nodiscard]] std::optional<Packet> poll_packet(Instant now);
  /// The same into a packet that the caller reuses; false when there is nothing. Flows take turns, one packet each.
  [[nodiscard]] bool poll_packet(Instant now, Packet& packet);
  [[nodiscard]] std::optional<Event> poll_event();

  // --- the owner's side --------------------------------------------------------------------------------------------
  /// Answers the SYN with SYN-ACK.
  void accept(Instant now, FlowId flow);
  /// Answers the SYN with what a real host or router would; the id is forgotten.
  void refuse(Instant now, FlowId flow, Refusal refusal);
  /// Bytes that send() takes now; zero while the SYN is held and after finish(). send() itself does not refuse more.
  [[nodiscard]] std::size_t sendable(FlowId flow) const;
  /// Queues bytes towards the application; the slice is held until acknowledged. Unknown flows are ignored.
  void send(Instant now, FlowId flow, Slice bytes);
  /// FIN after what is queued.
  void finish(Instant now, FlowId flow);
  /// RST towards the application; the id is forgotten.
  void abort(Instant now, FlowId flow);
  /// Returns receive window for Data that was passed on.
  void grant(FlowId flow, std::size_t bytes);

  /// Flows whose id is valid.
  [[nodiscard]] std::size_t flows() const;
  [[nodiscard]] std::optional<FlowStats> stats(FlowId flow) const;
  [[nodiscard]] const std::array<std::uint64_t, static_cast<std::size_t>(DropReason::kCount)>& drops() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace postern::tcp
