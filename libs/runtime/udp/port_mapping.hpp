// The sockets of mapping::PortMapper: one for datagrams to the router, one at a time for its HTTP. Nothing here waits
// but close(), because nobody would be left to do so.
#pragma once

#include <functional>
#include <optional>

#include "base/random.hpp"
#include "mapping/port_mapper.hpp"
#include "runtime/loop/descriptor.hpp"
#include "runtime/loop/event_loop.hpp"

namespace postern::runtime {

class PortMapping final : private TurnParticipant {
 public:
  /// A router of the same network answers within milliseconds.
  static constexpr Duration kCloseMax = std::chrono::milliseconds(500);

  /// Both outlive it. `changed` is called on the loop's thread when outside() or the reason for none has changed.
  PortMapping(EventLoop& loop, RandomSource& random, std::function<void()> changed);
  ~PortMapping() override;
  PortMapping(const PortMapping&) = delete;
  PortMapping& operator=(const PortMapping&) = delete;

  /// Looks where this host is; asks its router for `port` (UDP) unless that is what it does already.
  void follow(std::uint16_t port);
  /// Something hints that the router has forgotten us.
  void refresh() { mapper_.refresh(loop_.now()); }
  /// Has the mapping deleted; waits for the router, but not for longer than kCloseMax.
  void close();

  [[nodiscard]] std::optional<SocketAddress> outside() const { return mapper_.outside(); }
  [[nodiscard]] const mapping::PortMapper& mapper() const { return mapper_; }

 private:
  void end_turn(Instant now) override;
  [[nodiscard]] std::optional<Instant> next_timeout() const override { return mapper_.next_timeout(); }
  void open_datagrams(const IpAddress& local);
  void drop_datagrams();
  void read_datagrams(Instant now);
  void send_datagrams();
  void follow_exchange(Instant now);
  void drop_connection();
  void serve_connection(Instant now);
  void write_request(Instant now);
  void read_reply(Instant now);
  void pump(Instant now);

  EventLoop& loop_;
  std::function<void()> changed_;
  mapping::PortMapper mapper_;
  bool is_closing_ = false;  ///< the descriptors are not the loop's any more
  IpAddress local_;
  Descriptor datagrams_;
  Descriptor connection_;
  std::uint64_t exchange_ = 0;  ///< that the connection is for
  std::size_t written_ = 0;
  std::optional<SocketAddress> told_;
  mapping::Trouble told_trouble_ = mapping::Trouble::None;
};

}  // namespace postern::runtime
