// One QUIC connection: an ngtcp2_conn with its TLS session, streams, clock and pacer.
//
// ngtcp2 sees each path as a pair of made-up addresses that belongs to the path's label (PathTable), so the relay may
// move (set_remote()) without QUIC noticing. What goes between relay and direct paths is in connection_paths.cpp.
// Nothing here runs inside an ngtcp2 call except the callbacks in connection_callbacks.cpp, and those only record.
#pragma once

#include <ngtcp2/ngtcp2.h>

#include <memory>
#include <optional>
#include <vector>

#include "session/connection_ids.hpp"
#include "session/datagram_receiver.hpp"
#include "session/datagram_sender.hpp"
#include "session/endpoint.hpp"
#include "session/event_queue.hpp"
#include "session/pacer.hpp"
#include "session/packet_header.hpp"
#include "session/packet_protection.hpp"
#include "session/path_table.hpp"
#include "session/probe_clock.hpp"
#include "session/stream_set.hpp"
#include "session/synthetic_path.hpp"
#include "session/timer_queue.hpp"
#include "session/tls.hpp"
#include "session/train_writer.hpp"

namespace postern::session {

/// What all connections of an endpoint share.
struct ConnectionContext {
  const EndpointConfig& config;
  BlockPool& pool;
  RandomSource& random;
  EventQueue& events;
  ConnectionIdTable& ids;
  const TlsContext& tls;
  WindowBudget& process_budget;
  DatagramCounters& datagrams;
};

///   Handshaking ──handshake done──► Established
///        └────────── any end ────────────┴──────► Ended (answers late packets with its CONNECTION_CLOSE for 3 PTO)
enum class ConnectionState : std::uint8_t { Handshaking, Established, Ended };

class Connection final : public TimerEntry {
 public:
  /// `peer` is the pin. Null when ngtcp2 or GnuTLS has no memory.
  [[nodiscard]] static std::unique_ptr<Connection> connect(ConnectionContext& context, SessionId session, Instant now,
                                                           const ConnectRequest& request);
  [[nodiscard]] static std::unique_ptr<Connection> accept(ConnectionContext& context, SessionId session, Instant now,
                                                          const Path& path, const PacketHeader& initial,
                                                          const Digest& device);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();

  [[nodiscard]] SessionId session() const { return session_; }
  [[nodiscard]] const Digest& peer() const { return peer_; }
  [[nodiscard]] ConnectionState state() const { return state_; }
  [[nodiscard]] bool is_established() const { return state_ == ConnectionState::Established; }
  [[nodiscard]] Instant last_heard() const { return last_heard_; }
  [[nodiscard]] SessionStats stats() const;
  [[nodiscard]] StreamSet& streams() { return streams_; }
  [[nodiscard]] DatagramReceiver& received_datagrams() { return datagrams_received_; }

  /// False when the peer takes no datagrams.
  bool send_datagrams(Instant now, StreamId flow, Slice bytes, std::size_t stride);
  [[nodiscard]] DatagramLimit datagram_limit(Instant now, StreamId flow) const;

  /// What is wrong with a datagram that QUIC refused. `follows`: the datagram before, of the same train and with the
  /// same destination connection id, went to this connection too.
  [[nodiscard]] std::optional<DropReason> handle_datagram(Instant now, const Path& from, const PacketHeader& header,
                                                          ByteView datagram, bool follows);
  void handle_timeout(Instant now);
  [[nodiscard]] Instant next_timeout() const;
  [[nodiscard]] std::optional<Transmit> poll_transmit(Instant now, MutableBytes buffer);

  void close(Instant now, std::uint64_t code, std::string_view reason);
  void ping();
  void set_remote(const SocketAddress& remote);
  [[nodiscard]] PathTable& paths() { return paths_; }
  /// At the client: see Endpoint::migrate().
  [[nodiscard]] std::expected<void, MigrateError> migrate(Instant now, const Path& to,
                                                          std::optional<Duration> round_trip);
  /// The owner has changed what paths() says.
  void handle_paths_changed() { refresh_path(path_since_); }
  [[nodiscard]] std::optional<Digest> export_key(std::string_view label, std::string_view context) const;
  /// The owner has taken the Closed event: its streams can go.
  void forget_streams();
  /// Nothing is left to be said or remembered.
  [[nodiscard]] bool is_finished(Instant now) const;

  /// Set while the connection stands in the endpoint's queue of those that may have something to send.
  bool is_queued = false;

 private:
  friend struct ConnectionCallbacks;

  Connection(ConnectionContext& context, SessionId session, Instant now, const Path& path, const Digest& peer);
  [[nodiscard]] bool start(Role role, const ConnectionId& destination, const ConnectionId& original, ByteView token);
  [[nodiscard]] ngtcp2_settings make_settings(ByteView token) const;
  [[nodiscard]] ngtcp2_transport_params make_parameters(Role role, const ConnectionId& original) const;

  void handle_error(Instant now, int error);
  void handle_peer_close();
  void end(CloseReason reason, std::uint64_t code, std::string_view detail);
  void write_close(Instant now, const ngtcp2_ccerr& error);
  [[nodiscard]] std::optional<Transmit> poll_close_packet(MutableBytes buffer);

  void probe_early(Instant now);
  [[nodiscard]] bool may_probe_early() const;
  void refresh_info(Instant now);
  [[nodiscard]] bool has_pacing_debt() const;
  void settle_pacing(Instant now);
  [[nodiscard]] Duration round_trip() const;
  [[nodiscard]] std::uint64_t plausible_round_trip() const;
  [[nodiscard]] ngtcp2_ssize write_packet(MutableBytes room, std::uint64_t own_time, Pacer::Verdict verdict);
  [[nodiscard]] ngtcp2_ssize write_datagram(MutableBytes room, std::uint64_t own_time);
  [[nodiscard]] std::size_t datagram_frame_max() const;
  [[nodiscard]] bool datagrams_come_before(const Stream* stream);
  void fill_train(Instant now, TrainWriter& train, Pacer::Verdict verdict);
  [[nodiscard]] std::optional<Transmit> take_straggler(Instant now, MutableBytes buffer);

  /// The label under which QUIC shall see a packet.
  [[nodiscard]] std::uint32_t label_for(const Path& from, const PacketHeader& header) const;
  void handle_heard(Instant now, std::uint32_t label, const Path& from, const PacketHeader& header);
  /// The peer made that packet.
  void handle_heard_on(std::uint32_t label, const Path& from, const PacketHeader& header);
  /// Takes over which path QUIC uses now.
  void refresh_path(Instant now);
  /// The same when its label has changed.
  void refresh_label(Instant now);
  void finish_handshake(Instant now);
  void doubt_direct_path(Instant now);
  [[nodiscard]] std::optional<Instant> doubt_due() const;
  void renew_path(Instant now);
  void handle_validated(const ngtcp2_path& path, ngtcp2_path_validation_result result);

  ConnectionContext& context_;
  const SessionId session_;
  PathTable paths_;
  Path path_;                                 ///< the way that packets take now
  std::uint32_t label_ = 0;                   ///< of path_
  std::optional<std::uint32_t> validating_;   ///< at the client: the label whose validation runs
  std::uint32_t renewed_label_ = 0;           ///< that renew_path() took last
  SyntheticPath quic_path_{0};                ///< of the packet being read
  std::optional<std::uint32_t> heard_label_;  ///< of the packet that was read last, when the peer had made it
  ngtcp2_path_storage written_path_;          ///< of the packet just written
  std::uint32_t train_label_ = 0;
  /// A packet that was written after others of another path: it leaves next.
  Bytes straggler_;
  std::uint32_t straggler_label_ = 0;
  const Digest peer_;
  ConnectionState state_ = ConnectionState::Handshaking;
  StreamSet streams_;
  DatagramSender datagrams_;
  DatagramReceiver datagrams_received_;
  DatagramSender::Frame datagram_frame_;
  PacketKeys keys_;
  std::unique_ptr<TlsSession> tls_;      ///< until the handshake is done
  std::optional<SessionSecret> secret_;  ///< from then on
  ngtcp2_conn* quic_ = nullptr;
  std::vector<ConnectionId> ids_;

  ProbeClock clock_;
  Pacer pacer_;
  ngtcp2_conn_info info_{};
  bool is_round_trip_doubtful_ = false;  ///< since an outage ended, until the estimate is plausible again
  bool renewal_wanted_ = false;          ///< at the client: see renew_path()
  Instant last_heard_;
  Instant last_relayed_;
  Instant last_sent_;
  Instant path_since_;              ///< since when packets go the way that they go
  Instant flight_since_;            ///< since when something has been in flight without a break
  bool is_direct_doubted_ = false;  ///< at the connector: see doubt_direct_path()
  Instant write_time_;
  bool ping_wanted_ = false;
  bool probe_wanted_ = false;
  bool held_by_pacer_ = false;
  bool quic_paces_ = false;          ///< BBR on a long path
  std::uint64_t unpaced_bytes_ = 0;  ///< sent since QUIC's pacer was last told the time

  std::uint64_t bytes_sent_ = 0;
  std::uint64_t bytes_received_ = 0;

  // Ended.
  Bytes close_packet_;
  bool close_packet_due_ = false;
  bool closed_polled_ = false;
  std::uint32_t heard_since_close_ = 0;
  Instant linger_until_;
};

}  // namespace postern::session
