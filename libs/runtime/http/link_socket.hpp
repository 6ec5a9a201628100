// One end of a relay link: TLS and WebSocket on a TCP connection of the data plane's loop, trains in and out
// (PROTOCOL.md §3.6).
//
// Not Beast and not Asio: this moves gigabits beside the UDP socket, on the same thread, and nothing is copied more
// than the frame needs. What is received is decrypted, unmasked and delivered in one buffer that all links of a loop
// share; what is sent goes into the kernel at once, or, while that takes nothing, into a queue with a bound in bytes
// and in time: old trains are dropped for new ones, since QUIC above repairs losses and dislikes standing queues.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/bytes.hpp"
#include "base/time.hpp"
#include "runtime/http/byte_stream.hpp"
#include "runtime/http/http_message.hpp"
#include "runtime/http/tls.hpp"
#include "runtime/http/tls_context.hpp"
#include "runtime/loop/descriptor.hpp"
#include "runtime/loop/event_loop.hpp"
#include "wire/websocket_frame.hpp"

namespace postern::runtime {

/// Buffers that all links of a loop use in turn; made with the first link, given back with idle().
class LinkBuffers {
 public:
  [[nodiscard]] MutableBytes incoming();
  [[nodiscard]] MutableBytes outgoing();
  void give_back();

 private:
  Bytes incoming_;
  Bytes outgoing_;
};

struct LinkCounters {
  std::uint64_t bytes_received = 0;  ///< datagrams, without what surrounds them
  std::uint64_t bytes_sent = 0;
  std::uint64_t dropped_datagrams = 0;  ///< the queue was full, or they had waited too long
};

/// What answers a Sec-WebSocket-Key (RFC 6455 §4.2.2).
[[nodiscard]] std::string websocket_accept_value(const std::string& key);

class LinkSocket : public std::enable_shared_from_this<LinkSocket> {
 public:
  /// Trains that wait: beyond the first bound the oldest are dropped, as are those that have waited too long.
  static constexpr std::size_t kQueueMax = 512 * 1024;
  static constexpr Duration kWaitMax = std::chrono::milliseconds(200);
  /// Unsent bytes that the kernel takes before it says that it is full.
  static constexpr int kNotSentMax = 128 * 1024;

  struct Events {
    std::function<void()> opened{};
    /// The bytes may be changed; they are gone after the call.
    std::function<void(MutableBytes bytes, std::size_t stride)> train{};
    /// Once, in a task of its own; also when it could not be opened. The reason is one phrase.
    std::function<void(const std::string& reason)> closed{};
  };

  struct FreeTls {
    void operator()(ssl_st* tls) const;
  };
  struct Connection {
    Descriptor descriptor{};
    std::unique_ptr<ssl_st, FreeTls> tls{};
    std::string remote{};
  };

  /// Whether an upgrade request asks for a link; otherwise why not, for the answer with status 400.
  [[nodiscard]] static std::expected<void, std::string> check_upgrade(const HttpRequest& request);
  /// Takes the connection of an upgrade request away from the HTTP server; nothing when it is not to be had.
  [[nodiscard]] static std::optional<Connection> take(ByteStream& stream);

  /// The server's end. `key` is Sec-WebSocket-Key of the request, which is answered here.
  [[nodiscard]] static std::shared_ptr<LinkSocket> accept(EventLoop& loop, LinkBuffers& buffers, Connection connection,
                                                          const std::string& key, Events events);
  /// Answers an upgrade request with status 503, as far as the kernel takes it at once, and ends the connection.
  static void refuse(Connection connection);
  /// The agent's end, on a connected TCP socket: handshake, trust and upgrade follow.
  struct Target {
    ServerAddress server{};
    ServerTrust trust{};
    TlsContext context{};  ///< made for `trust`
  };
  [[nodiscard]] static std::shared_ptr<LinkSocket> connect(EventLoop& loop, LinkBuffers& buffers, Descriptor descriptor,
                                                           const Target& target, Events events);

  LinkSocket(EventLoop& loop, LinkBuffers& buffers, Connection connection, bool is_server, Events events);
  ~LinkSocket();
  LinkSocket(const LinkSocket&) = delete;
  LinkSocket& operator=(const LinkSocket&) = delete;

  /// Dropped, and counted, when the link is not open.
  void send(Instant now, ByteView bytes, std::size_t stride);
  /// What is sent now waits: a sender that can had better wait itself.
  [[nodiscard]] bool is_blocked() const { return !queue_.empty(); }
  /// Since when the one that is sent next has waited; only while blocked.
  [[nodiscard]] Instant waiting_since() const { return queue_.front().since; }
  [[nodiscard]] bool is_open() const { return state_ == State::Open; }
  [[nodiscard]] bool is_closed() const { return state_ == State::Closed; }
  /// Once it is closed by anything but close().
  [[nodiscard]] const std::string& end_reason() const { return end_reason_; }
  /// Says goodbye as far as the kernel takes it at once; no event follows.
  void close();
  /// When something came in last.
  [[nodiscard]] Instant heard() const { return heard_; }
  [[nodiscard]] std::size_t queued_bytes() const { return queued_bytes_; }
  [[nodiscard]] const LinkCounters& counters() const { return counters_; }
  [[nodiscard]] const std::string& remote() const { return connection_.remote; }

 private:
  enum class State : std::uint8_t { Handshaking, Upgrading, Open, Closed };
  struct Waiting {
    Bytes bytes;
    std::size_t datagrams = 0;  ///< 0: not a train, never dropped
    Instant since;
  };

  void watch();
  void handle_events(std::uint32_t events);
  void shake_hands();
  void ask_for_upgrade();
  void read();
  void read_again();
  /// What of `bytes` was used.
  std::size_t take_upgrade(ByteView bytes);
  std::size_t take_frames(MutableBytes bytes);
  void handle_frame(const wire::Frame& frame);
  void send_frame(Instant now, ByteView train, std::size_t stride);
  void send_control(wire::FrameKind kind, ByteView payload);
  void write(Instant now, ByteView bytes, std::size_t datagrams);
  void flush();
  void make_room(Instant now, std::size_t size);
  [[nodiscard]] std::optional<wire::FrameMask> next_mask();
  void end(std::string reason);
  void release();

  EventLoop& loop_;
  LinkBuffers& buffers_;
  Connection connection_;
  bool is_server_;
  Events events_;
  State state_ = State::Handshaking;
  ServerTrust trust_;
  TlsContext context_;  ///< the check of the peer's certificate refers to it
  std::string host_;
  std::string request_;
  std::string accept_;      ///< what the server has to answer
  std::uint64_t mask_ = 0;  ///< state of the generator of masks
  Bytes partial_;           ///< the start of a frame
  std::deque<Waiting> queue_;
  std::size_t front_sent_ = 0;
  std::size_t queued_bytes_ = 0;
  Instant heard_;
  std::string end_reason_;
  LinkCounters counters_;
};

}  // namespace postern::runtime
