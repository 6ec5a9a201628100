// This process's route at its relays: one BindClient each, over the one UDP socket (PROTOCOL.md §3).
//
// Sans-IO: datagrams and times come in, datagrams and news go out through Callbacks.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "schema/control.pb.h"
#include "wire/relay_binding.hpp"

namespace postern::connector {

/// Something for the log.
struct RelayNote {
  enum class Kind : std::uint8_t {
    Bound,         ///< `detail`: the address that the relay sees
    AddressMoved,  ///< the relay sees another address, `detail`
    Silent,
    Refuses,   ///< `detail`: the code of the answer
    OverLink,  ///< `detail`: the address at which UDP is not answered
    OverUdp,   ///< again; `detail`: the address
    Unusable   ///< what the server said of it cannot be used
  };
  Kind kind = Kind::Bound;
  std::string relay{};
  std::string detail{};
};

class RelayBindings {
 public:
  /// More than one Network of relays needs; further ones are left out.
  static constexpr std::size_t kRelaysMax = 8;
  /// So long a bound relay is kept that a Welcome did not name: a controller that has just started learns of its relays
  /// only when they come back, and flows go on over them meanwhile.
  static constexpr Duration kUnlistedTime = std::chrono::seconds(60);

  struct Callbacks {
    std::function<void(const SocketAddress& to, ByteView datagram)> send;
    /// Bound, or no longer: tell the controller.
    std::function<void()> changed;
    /// The relay is reached again, or at another address than before: sessions must take that way.
    std::function<void(const SocketAddress& relay)> proven;
    /// A ticket was refused: only a new Welcome brings another.
    std::function<void()> ticket_refused;
    std::function<void(const RelayNote& note)> note;
  };

  /// `random` outlives it; every callback is set.
  RelayBindings(RandomSource& random, Callbacks callbacks);

  /// `wall_offset` makes network time out of monotonic time.
  void set_wall_offset(Duration wall_offset);
  /// The relays of a Welcome; all bind again. Others are dropped, those that work after kUnlistedTime.
  void replace(Instant now, const google::protobuf::RepeatedPtrField<wire::RelayInfo>& relays);
  /// RelayUp: a new epoch or ticket of one relay.
  void update(Instant now, const wire::RelayInfo& relay);
  /// RelayDown: it is no longer one of this Network. Sessions over it take another way where there is one.
  void remove(Instant now, const std::string& name);
  void rebind_all(Instant now, wire::RebindReason reason);

  /// True when the datagram was for a binding.
  bool handle_datagram(Instant now, const SocketAddress& from, ByteView datagram);
  /// Whether packets of a relay may come from there.
  [[nodiscard]] bool is_relay(const SocketAddress& address) const;
  /// Whether packets reach a relay there.
  [[nodiscard]] bool is_in_use(const SocketAddress& address) const;
  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Instant> next_timeout() const;

  /// Datagrams of sessions.
  void note_sent(Instant now, const SocketAddress& to);
  void note_received(Instant now, const SocketAddress& from);
  void set_busy(bool busy);

  /// The links over TLS that shall be open (PROTOCOL.md §3.6).
  [[nodiscard]] std::vector<wire::WantedLink> wanted_links() const;
  void handle_link_open(Instant now, const SocketAddress& link);
  void handle_link_closed(Instant now, const SocketAddress& link, const std::string& reason);

  struct Bound {
    std::string name;
    SocketAddress address;      ///< may be a link
    SocketAddress udp_address;  ///< for people
    bool over_link = false;
  };
  [[nodiscard]] std::vector<Bound> bound(Instant now) const;
  [[nodiscard]] std::vector<std::string> bound_names(Instant now) const;
  /// How the relays see us, those that are bound.
  [[nodiscard]] std::vector<SocketAddress> mapped(Instant now) const;
  [[nodiscard]] bool is_bound(Instant now) const { return !bound_names(now).empty(); }

 private:
  struct Relay {
    std::vector<SocketAddress> addresses;
    std::size_t address = 0;
    std::uint64_t epoch = 0;
    std::optional<wire::RelayBinding> client;
    std::optional<Digest> key_digest;
    SocketAddress used;  ///< client->relay() when it was looked at last
    Instant tried_since;
    std::optional<Instant> unlisted_until;
    bool was_bound = false;
    bool proof_wanted = false;  ///< it was told to bind again because the way may have changed
  };

  void upsert(Instant now, const wire::RelayInfo& info, wire::RebindReason reason);
  void pump(Instant now, const std::string& name, Relay& relay);
  void handle_event(Instant now, const std::string& name, Relay& relay, const wire::BindEvent& event);
  void drop_unlisted(Instant now);
  void try_next_address(Instant now, Relay& relay);

  RandomSource& random_;
  Callbacks callbacks_;
  Duration wall_offset_{};
  std::map<std::string, Relay> relays_;
  std::uint64_t links_ = 0;  ///< names given to links
};

}  // namespace postern::connector
