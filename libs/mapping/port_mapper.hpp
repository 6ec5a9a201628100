// Asks this host's router for a port on its outside that leads to our one UDP socket: NAT-PMP (RFC 6886), and where
// that is not answered UPnP (IGD:1 and :2). Peers get the outside as a candidate (PROTOCOL.md §4.6).
//
//     Off ──place──▶ PmpAddress ──▶ PmpMap ──────────────────────────────┐
//                        │ no answer, or refused                         ▼
//                        └▶ Search ─▶ Description ─▶ OutsideAddress ─▶ Add ─▶ Mapped ──check, renewal──▶ (again)
//     any of them ──fails──▶ Waiting, for longer each time ──▶ (again)         │ release()
//                                                                              └▶ Deleting ──▶ Off
//
// A mapping lives for ten minutes and is renewed after five, so that one that was left behind ends by itself; a router
// that knows only permanent ones (error 725) is asked for that and told to delete it. Over NAT-PMP the router is asked
// each minute whether it has forgotten everything; refresh() does the same at once, for when something hints at it.
// While a mapping is asked for again the old one counts until it ends.
//
// The local network is hostile: only what comes from the router counts, a description and its control URL must be on
// the router's own address, answers are bounded in size (HttpReply) and time, and an outside that is no public address
// is not used: another router translates in front of it, or somebody lies.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.hpp"
#include "base/time.hpp"
#include "mapping/igd.hpp"
#include "mapping/nat_pmp.hpp"

namespace postern::mapping {

/// Where this host is, all IPv4.
struct Place {
  IpAddress router;
  IpAddress local;         ///< our address towards the router
  std::uint16_t port = 0;  ///< of the socket that is mapped
  bool operator==(const Place&) const = default;
};

enum class Method : std::uint8_t { None, NatPmp, Upnp };
[[nodiscard]] std::string_view to_string(Method method);

/// Why there is no mapping.
enum class Trouble : std::uint8_t {
  None,  ///< there is one, or it is being asked for
  NoRouter,
  NotNeeded,  ///< the host has a public address
  NoAnswer,
  NoPublicAddress,
  Refused,
  BadAnswer,
  kCount
};
/// One sentence for people; empty for None.
[[nodiscard]] std::string_view sentence(Trouble trouble);

enum class MappingDrop : std::uint8_t {
  ForeignSource,  ///< not from the router
  Malformed,      ///< neither NAT-PMP nor an answer to a search, or to nothing that was asked
  ForeignUrl,     ///< a description or a control URL on another host than the router
  BadReply,       ///< HTTP that is malformed, too large or too slow
  kCount
};
[[nodiscard]] std::string_view to_string(MappingDrop drop);

class PortMapper {
 public:
  static constexpr Duration kLease = std::chrono::minutes(10);
  /// Whatever a router grants, we do not ask more often.
  static constexpr Duration kLeaseMin = std::chrono::minutes(2);
  static constexpr Duration kCheck = std::chrono::minutes(1);
  static constexpr Duration kRefreshPause = std::chrono::seconds(10);
  static constexpr Duration kPauseFirst = std::chrono::minutes(1);
  static constexpr Duration kPauseLongest = std::chrono::hours(1);
  static constexpr Duration kExchangeMax = std::chrono::seconds(4);
  /// Before the first repetition over NAT-PMP, doubling (RFC 6886 §3.1; it would go on for a minute).
  static constexpr Duration kPmpPause = std::chrono::milliseconds(250);
  static constexpr unsigned kPmpTries = 4;
  static constexpr Duration kSearchPause = std::chrono::milliseconds(1500);
  static constexpr unsigned kSearchTries = 2;
  static constexpr unsigned kPortsTried = 4;

  /// `random` outlives the mapper.
  explicit PortMapper(RandomSource& random) : random_(random) {}

  /// Nothing where the host has no IPv4 router. Another place: a mapping at the old one is left to its end.
  void set_place(Instant now, const std::optional<Place>& place);
  /// Something hints that the router may have forgotten us.
  void refresh(Instant now);
  /// Deletes the mapping; set_place() begins again.
  void release(Instant now);
  [[nodiscard]] bool is_released() const { return step_ == Step::Off; }

  void handle_datagram(Instant now, const SocketAddress& from, ByteView datagram);
  struct Outgoing {
    SocketAddress to;
    Bytes datagram;
  };
  [[nodiscard]] std::optional<Outgoing> poll_datagram();

  /// A request over a connection of its own. As long as one is there with this number the owner keeps its connection.
  struct Exchange {
    std::uint64_t number = 0;
    SocketAddress to;
    std::string request;
  };
  [[nodiscard]] const std::optional<Exchange>& exchange() const { return exchange_; }
  void handle_bytes(Instant now, ByteView bytes);
  /// The connection has ended, or could not be made.
  void handle_end(Instant now);

  void handle_timeout(Instant now);
  [[nodiscard]] std::optional<Instant> next_timeout() const;

  /// Where peers reach our socket.
  [[nodiscard]] std::optional<SocketAddress> outside() const;
  [[nodiscard]] Method method() const { return mapping_ ? mapping_->method : Method::None; }
  [[nodiscard]] Trouble trouble() const { return mapping_ ? Trouble::None : trouble_; }
  [[nodiscard]] const std::array<std::uint64_t, static_cast<std::size_t>(MappingDrop::kCount)>& drops() const {
    return drops_;
  }

 private:
  enum class Step : std::uint8_t {
    Off,
    PmpAddress,
    PmpMap,
    Search,
    Description,
    OutsideAddress,
    Add,
    Mapped,
    Waiting,
    Deleting
  };
  struct Mapping {
    Method method = Method::None;
    SocketAddress outside;
    Instant expires;
    Instant renew_at;
  };

  void begin(Instant now);
  void enter(Instant now, Step step, Duration patience);
  void fail(Instant now, Trouble trouble);
  void settle(Instant now, Method method, const SocketAddress& outside, Duration lease);
  void count(MappingDrop drop) { ++drops_[static_cast<std::size_t>(drop)]; }
  [[nodiscard]] std::uint16_t wanted_port() const;
  void send(const SocketAddress& to, ByteView datagram);
  [[nodiscard]] static bool is_public(const IpAddress& address);

  // NAT-PMP
  void start_pmp(Instant now, Step step);
  void send_pmp();
  void handle_pmp(Instant now, ByteView datagram);
  void handle_pmp_address(Instant now, const PmpAnswer& answer);
  void handle_pmp_map(Instant now, const PmpAnswer& answer);
  void give_up_pmp(Instant now);

  // UPnP
  void start_search(Instant now);
  void send_search();
  void handle_search_answer(Instant now, ByteView datagram);
  void ask(Instant now, Step step, const HttpTarget& target, std::string request);
  void ask_outside(Instant now);
  void ask_to_add(Instant now);
  void handle_reply(Instant now, const HttpReply& reply);
  void handle_description(Instant now, const HttpReply& reply);
  void handle_outside_address(Instant now, const HttpReply& reply);
  void handle_added(Instant now, const HttpReply& reply);
  void handle_add_error(Instant now, IgdError error);
  void fail_service(Instant now, Trouble trouble);

  RandomSource& random_;
  std::optional<Place> place_;
  Step step_ = Step::Off;
  Trouble trouble_ = Trouble::NoRouter;
  Instant due_;  ///< when the step has taken too long, or the next thing is to be done
  unsigned tries_ = 0;
  Duration pause_{};
  Instant begun_;
  bool is_renewal_wanted_ = false;
  std::optional<Mapping> mapping_;
  /// Asked for and not answered: the router may have made it.
  std::optional<Mapping> asked_;
  IpAddress outside_ip_;

  std::optional<std::uint32_t> epoch_s_;  ///< the router's, at epoch_at_
  Instant epoch_at_;

  HttpTarget description_;
  std::vector<IgdService> services_;  ///< the first is the one in use
  bool uses_add_any_ = false;
  bool is_permanent_ = false;
  std::uint16_t port_tried_ = 0;
  unsigned ports_tried_ = 0;

  std::deque<Outgoing> outgoing_;
  std::optional<Exchange> exchange_;
  std::uint64_t exchanges_ = 0;
  HttpReply reply_;
  std::array<std::uint64_t, static_cast<std::size_t>(MappingDrop::kCount)> drops_{};
};

}  // namespace postern::mapping
