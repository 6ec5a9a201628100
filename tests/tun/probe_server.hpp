// The owner of an Endpoint behind a TUN device: what a connection does is chosen by the port it goes to.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <unordered_map>

#include "base/block.hpp"
#include "tcp/endpoint.hpp"
#include "tun/pattern.hpp"
#include "tun/tun_device.hpp"

namespace postern::tun_probe {

/// Service numbers are TCP ports.
enum class Service : std::uint16_t {
  RefuseReset = 1,
  RefuseHost = 2,
  RefuseNetwork = 3,
  RefuseAdmin = 4,
  /// Every byte back; window is granted as the kernel acknowledges.
  Echo = 7,
  /// Takes the pattern and checks it.
  Discard = 9,
  /// The same without a look, for the throughput alone.
  DiscardBlindly = 10,
  /// RST at the first byte.
  ResetOnData = 11,
  /// Grants nothing for 700 ms, then everything; checks the pattern.
  StallThenDiscard = 12,
  /// accept() only after 2.5 s.
  SlowAccept = 13,
  /// FIN at once; takes and checks what still comes.
  FinishFirst = 14,
  /// Sends as many bytes of the pattern as the first 8 bytes (big-endian) say, then FIN.
  Source = 19,
  /// The same in slices of 1372 bytes that do not join, as QUIC packets leave them.
  SourceInPieces = 20,
};

class ProbeServer {
 public:
  explicit ProbeServer(TunDevice device);
  ~ProbeServer();
  ProbeServer(const ProbeServer&) = delete;
  ProbeServer& operator=(const ProbeServer&) = delete;

  /// Bytes of Discard and the like that did not match the pattern: must stay 0.
  [[nodiscard]] std::uint64_t mismatches() const { return mismatches_; }
  [[nodiscard]] std::uint64_t flows() const { return flows_; }
  [[nodiscard]] std::uint64_t write_failures() const { return write_failures_; }
  [[nodiscard]] std::uint64_t retransmissions() const { return retransmissions_; }
  [[nodiscard]] std::uint64_t drops(tcp::DropReason reason) const { return drops_[static_cast<std::size_t>(reason)]; }
  [[nodiscard]] std::uint64_t cpu_ns() const { return cpu_ns_; }

 private:
  struct Connection {
    Service service{};
    std::uint64_t received = 0;
    std::uint64_t to_send = 0;
    std::uint64_t sent = 0;
    std::size_t held = 0;
    bool is_finished = false;
    Instant act_at;
  };
  using Connections = std::unordered_map<tcp::FlowId, Connection>;

  void make_content();
  [[nodiscard]] Slice content(const Connection& connection, std::uint64_t most) const;
  void run();
  void wait();
  void read_batch();
  void handle_events();
  void handle(const tcp::Incoming& event);
  void handle(tcp::Data& event);
  void handle(const tcp::PeerFinished& event);
  void handle(const tcp::Acknowledged& event);
  void handle(const tcp::Aborted& event) { forget(event.flow); }
  void handle(const tcp::FlowClosed& event) { forget(event.flow); }
  void forget(tcp::FlowId flow);
  void check(Connection& connection, ByteView bytes);
  void echo(tcp::FlowId flow, Connection& connection, Slice bytes);
  void pump_source(tcp::FlowId flow, Connection& connection);
  void run_delayed();
  void write_packets();
  void publish();

  TunDevice device_;
  int stop_fd_;
  BlockPool pool_{256U << 20};
  tcp::Endpoint endpoint_;
  Connections connections_;
  Connections delayed_;
  Pattern pattern_;
  Instant now_;
  Buffer reading_;
  std::vector<Slice> pattern_slices_;
  /// The same content with gaps between the pieces.
  std::vector<Slice> pattern_pieces_;
  tcp::Packet packet_;
  std::atomic<bool> stopping_ = false;
  std::atomic<std::uint64_t> mismatches_ = 0;
  std::atomic<std::uint64_t> flows_ = 0;
  std::atomic<std::uint64_t> write_failures_ = 0;
  std::atomic<std::uint64_t> retransmissions_ = 0;
  std::atomic<std::uint64_t> cpu_ns_ = 0;
  std::array<std::atomic<std::uint64_t>, static_cast<std::size_t>(tcp::DropReason::kCount)> drops_{};
  std::thread thread_;
};

}  // namespace postern::tun_probe
