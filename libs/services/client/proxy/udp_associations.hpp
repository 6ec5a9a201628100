// UDP of local programs over SOCKS5 (RFC 1928 §7): a connection that stays open, and a socket beside it for datagrams.
//
// The socket hears one program: from the connection's address, from the port that the request names, else from that of
// the first datagram; where the proxy has an owner, the kernel is asked whose socket that is. An association ends with
// its connection, or when nothing was sent or received for a while; then the connection is closed. Pieces (FRAG) are
// dropped. Errors cannot be told: SOCKS5 has no word for them.
#pragma once

#include <sys/types.h>

#include <deque>
#include <map>
#include <optional>
#include <string>

#include "base/block.hpp"
#include "client_core/datagram_flows.hpp"
#include "client_core/proxy_handshake.hpp"
#include "runtime/loop/descriptor.hpp"
#include "runtime/loop/event_loop.hpp"
#include "services/client/io_buffer.hpp"

namespace postern::client {

class UdpAssociations final : public runtime::TurnParticipant {
 public:
  /// Further ones are refused.
  static constexpr std::size_t kAssociationsMax = 256;
  static constexpr Duration kIdle = std::chrono::minutes(5);
  /// Datagrams of all programs that the client has not taken; further ones are dropped.
  static constexpr std::size_t kWaitingMax = 1024;

  struct Counters {
    std::uint64_t fragments = 0;
    std::uint64_t foreign = 0;  ///< from another address, port or user
    std::uint64_t malformed = 0;
    std::uint64_t full = 0;     ///< more than wait for the client, or than the program's socket takes
    std::uint64_t refused = 0;  ///< associations
  };
  struct Outgoing {
    std::uint64_t program = 0;
    Destination to;
    Slice payload;
  };

  /// Both outlive it.
  UdpAssociations(runtime::EventLoop& loop, BlockPool& pool);
  ~UdpAssociations() override;
  UdpAssociations(const UdpAssociations&) = delete;
  UdpAssociations& operator=(const UdpAssociations&) = delete;

  /// Answers `head` and where to send; false when there are too many, or no socket: then the connection is untouched.
  [[nodiscard]] bool open(Instant now, runtime::Descriptor& connection, const ProxyHandshake& handshake,
                          const std::string& head, std::optional<uid_t> owner);

  [[nodiscard]] std::optional<Outgoing> poll_outgoing();
  /// Programs that are gone.
  [[nodiscard]] std::optional<std::uint64_t> poll_ended();
  void deliver(Instant now, const LocalDatagrams& datagrams);

  void end_turn(Instant now) override;
  [[nodiscard]] std::optional<Instant> next_timeout() const override { return next_look_; }
  [[nodiscard]] std::size_t size() const { return associations_.size(); }
  [[nodiscard]] const Counters& counters() const { return counters_; }

 private:
  struct Association {
    runtime::Descriptor connection;
    runtime::Descriptor socket;
    SocketAddress bound;
    SocketAddress peer;     ///< the program's; port 0: that of the first datagram
    bool is_known = false;  ///< the port is certain, and its owner was asked for
    std::optional<uid_t> owner{};
    Instant active;
  };

  void handle_connection(std::uint64_t program);
  void handle_datagrams(std::uint64_t program);
  void handle_datagram(std::uint64_t program, Association& from, ByteView datagram);
  [[nodiscard]] bool may_send(Association& association, const SocketAddress& source) const;
  void close(std::uint64_t program);

  runtime::EventLoop& loop_;
  BlockPool& pool_;
  std::map<std::uint64_t, Association> associations_;
  std::uint64_t numbers_ = 0;
  std::deque<Outgoing> outgoing_;
  std::deque<std::uint64_t> ended_;
  std::optional<Instant> next_look_;
  IoBuffer buffer_;
  Counters counters_;
};

}  // namespace postern::client
