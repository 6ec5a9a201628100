// All QUIC sessions of one process behind one UDP socket: connection ids, knocks, handshakes, streams.
//
// Sans-IO. The owner reads GRO trains and calls handle_train() for each until the socket is empty, then drains events,
// does what they ask for, and calls poll_transmit() until it gives nothing: acknowledgements of the whole batch and all
// stream data leave together, as GSO trains. Then it sleeps until next_timeout() or the next packet.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string_view>

#include "base/block.hpp"
#include "base/random.hpp"
#include "session/types.hpp"

namespace postern::session {

/// What an accepted knock promises about its sender.
struct Knock {
  Digest device;  ///< digest of the key that the client will prove in TLS
};

/// Decides, before any TLS or state, whether an Initial may start a handshake (PROTOCOL.md "Knock").
class KnockVerifier {
 public:
  virtual ~KnockVerifier() = default;
  [[nodiscard]] virtual std::expected<Knock, DropReason> verify(Instant now, ByteView token) const = 0;
};

struct Limits {
  std::uint32_t sessions_max = 4096;
  std::uint32_t sessions_per_device_max = 4;
  std::uint32_t handshakes_per_device_per_second_max = 5;
  std::uint32_t half_open_max = 256;
  std::uint32_t streams_per_session_max = 16384;
  /// Unread bytes that one stream may hold; returned to the peer as they are consumed. A stream starts with the first
  /// window and grows while its peer fills it.
  std::uint64_t stream_window = 6U << 20;
  std::uint64_t first_stream_window = 64U << 10;
  /// Unread bytes and grown windows of one session, and of the process; at the bound windows stop growing and new
  /// streams are refused by the owner (has_budget()). A session with so many unread bytes gets no more credit, so twice
  /// as many are the most that it can leave here.
  std::uint64_t session_budget = 64U << 20;
  std::uint64_t process_budget = 512U << 20;
  /// Bytes that one stream accepts from its writer before writable() is zero.
  std::uint64_t stream_unsent_max = 512U << 10;
};

/// Who protects packets. The bytes on the wire are the same.
enum class PacketCipher : std::uint8_t {
  Fastest,   ///< ipsec-mb where build and CPU have it, else GnuTLS
  Portable,  ///< GnuTLS
};

/// How fast a sender may go.
enum class CongestionControl : std::uint8_t {
  Cubic,  ///< RFC 9438: slows down at each loss
  Bbr,    ///< BBRv2: measures the path's rate and takes single losses for noise
};

/// What an Ethernet frame of 9000 bytes carries over IPv6 and UDP.
inline constexpr std::uint16_t kJumboPayload = 8952;

struct EndpointConfig {
  Role role = Role::Client;
  Credentials credentials;
  RouteId route;
  Limits limits;
  /// First connection-id byte of ids that this endpoint issues.
  std::uint8_t worker = 0;
  Duration idle_timeout = std::chrono::minutes(30);
  Duration handshake_timeout = std::chrono::seconds(5);
  /// Largest UDP payload that is tried on a path (1200 to 65527); paths start at 1200. With kJumboPayload all usual
  /// sizes are tried.
  std::uint16_t udp_payload_max = 1452;
  PacketCipher packet_cipher = PacketCipher::Fastest;
  CongestionControl congestion_control = CongestionControl::Bbr;
};

struct ConnectRequest {
  Path path;
  RouteId peer_route;
  Digest peer_digest;  ///< pin: SHA-256 of the DER SPKI of the connector's key, checked inside the TLS verify callback
  Bytes knock;         ///< Token field of the Initial
};

enum class ConnectError : std::uint8_t { TooManySessions, Internal };

struct SessionStats {
  Duration smoothed_rtt{};
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t packets_lost = 0;
  std::uint32_t streams_open = 0;
  Path path;
  Instant last_heard;
  Instant last_relayed;  ///< at the client: the last packet that came through a relay
  Instant last_sent;
  std::uint64_t bytes_in_flight = 0;
  std::size_t packet_size = 0;  ///< UDP payload that the present path is known to carry
};

class Endpoint {
 public:
  /// `pool` and `random` outlive the endpoint. `knocks` is required for Role::Connector, ignored for Role::Client.
  /// Throws std::invalid_argument when the credentials are unusable (ask credentials_digest() before). A pool of less
  /// than process_budget is safe: at its bound data packets are dropped and come again.
  Endpoint(EndpointConfig config, BlockPool& pool, RandomSource& random, const KnockVerifier* knocks);
  ~Endpoint();
  Endpoint(const Endpoint&) = delete;
  Endpoint& operator=(const Endpoint&) = delete;

  // --- network ---------------------------------------------------------------------------------------------------
  void handle_train(Instant now, const Train& train);
  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Instant> next_timeout() const;
  /// Writes the next train into `buffer` (at least 64 KiB, page-aligned); nothing when there is nothing to send now.
  [[nodiscard]] std::optional<Transmit> poll_transmit(Instant now, MutableBytes buffer);
  [[nodiscard]] std::optional<Event> poll_event();

  // --- sessions --------------------------------------------------------------------------------------------------
  [[nodiscard]] std::expected<SessionId, ConnectError> connect(Instant now, const ConnectRequest& request);
  /// Sends CONNECTION_CLOSE with an application error and forgets the session; a Closed event follows.
  void close(Instant now, SessionId session, std::uint64_t code, std::string_view reason);
  /// A PING leaves with the next transmit (liveness is the owner's, DESIGN §5.3). It needs a free congestion window; in
  /// an outage probes leave by themselves, at growing intervals (first one second, each a third longer).
  void ping(Instant now, SessionId session);
  /// A connector's sessions follow their clients to another relay by themselves (PROTOCOL.md §3.5).
  /// All later packets of the session go to `remote`: the relay has moved, or (with the same address) has come back.
  /// What was unacknowledged is probed for at once, so flows go on one round trip later.
  void set_remote(SessionId session, const SocketAddress& remote);

  // --- paths (DESIGN §5.3) -----------------------------------------------------------------------------------------
  /// 32 bytes that only the two ends of an established session know, different for each label and context.
  [[nodiscard]] std::optional<Digest> export_key(SessionId session, std::string_view label,
                                                 std::string_view context) const;
  /// Packets of this session are taken from there too: a check has proven that the peer is there. At most 16 of them;
  /// false at the bound, or for no session.
  bool allow_remote(SessionId session, const SocketAddress& remote);
  void disallow_remote(SessionId session, const SocketAddress& remote);
  /// At the client: the session goes another way from now on. With a `round_trip` (measured by checks) that is not
  /// above the present one the new way is validated first, and what is in flight arrives; else the session moves at
  /// once, and what is in flight counts as lost. PathChanged, or PathFailed, follows.
  [[nodiscard]] std::expected<void, MigrateError> migrate(Instant now, SessionId session, const Path& to,
                                                          std::optional<Duration> round_trip);
  /// At the connector, whose own address has changed: what would go straight to clients goes through the relay until
  /// they are heard directly again. Only for sessions that have a direct path.
  void distrust_direct_paths(Instant now);
  [[nodiscard]] std::optional<SessionStats> stats(SessionId session) const;
  /// False when the windows of the session or of the process are used up: refuse a new flow.
  [[nodiscard]] bool has_budget(SessionId session) const;
  [[nodiscard]] const std::array<std::uint64_t, static_cast<std::size_t>(DropReason::kCount)>& drops() const;

  // --- datagrams (PROTOCOL.md §4.4) --------------------------------------------------------------------------------
  /// Queues datagrams of `stride` bytes each (the last may be shorter; empty bytes are one empty datagram) without
  /// copying. They leave after what was written to the flow's stream before; what waits too long is dropped. Those that
  /// do not fit into a packet are split. UnknownSession also for a peer that takes no datagrams.
  std::expected<void, StreamError> send_datagrams(Instant now, SessionId session, StreamId flow, Slice bytes,
                                                  std::size_t stride);
  /// The next ones that have come, of one flow; nothing when there are none now. The flow may be unknown to the owner.
  [[nodiscard]] std::optional<DatagramTrain> read_datagrams(SessionId session);
  /// Zero for a session that is unknown or not established.
  [[nodiscard]] DatagramLimit datagram_limit(Instant now, SessionId session, StreamId flow) const;
  [[nodiscard]] const DatagramCounters& datagram_counters() const;

  // --- streams ---------------------------------------------------------------------------------------------------
  /// Opens a bidirectional stream; the first one of a client is kControlStream.
  [[nodiscard]] std::expected<StreamId, StreamError> open_stream(SessionId session);
  /// Bytes that write() takes now. The control stream ignores the bound of the session's budget.
  [[nodiscard]] std::size_t writable(SessionId session, StreamId stream) const;
  [[nodiscard]] StreamPressure pressure(SessionId session, StreamId stream) const;
  /// Queues the slice without copying; it is held until acknowledged. Takes it whole, also above writable().
  std::expected<void, StreamError> write(SessionId session, StreamId stream, Slice bytes);
  /// FIN after what is queued.
  std::expected<void, StreamError> finish(SessionId session, StreamId stream);
  /// RESET_STREAM for our side and STOP_SENDING for the peer's. What the peer has sent is dropped.
  void reset(SessionId session, StreamId stream, std::uint64_t code);
  /// The same, but only when the peer has all that was written, or after 3 s. Nothing more is read or written.
  void reset_when_delivered(Instant now, SessionId session, StreamId stream, std::uint64_t code);

  /// The next unread bytes as a counted slice of at most 64 KiB; empty when there are none now. Marks them read.
  [[nodiscard]] Slice read(SessionId session, StreamId stream);
  /// True when the peer finished its side and every byte was read.
  [[nodiscard]] bool at_end(SessionId session, StreamId stream) const;
  /// Gives stream credit back for bytes that were read and are done with. Connection credit is given on arrival.
  void consume(SessionId session, StreamId stream, std::size_t bytes);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace postern::session
