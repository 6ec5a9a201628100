// Which virtual address stands for which name.
//
// One number per name, the same in both families. A name keeps its number; a number whose name was asked for or used
// within the hold time (24 h) is never given to another name, because applications keep addresses that long. The first
// number tried is a hash of the name, so that even a client that lost its memory mostly gives the same addresses again.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/time.hpp"
#include "model/resource.hpp"
#include "resolver/virtual_network.hpp"

namespace postern::resolver {

struct PoolLimits {
  /// At the bound the name that was unused longest is forgotten if its hold time is over; otherwise assign() fails.
  std::size_t names_max = 65'536;
  Duration hold = std::chrono::hours(24);
};

struct AssignedName {
  model::DnsName name;
  std::uint32_t number = 0;
  Instant used;
};

class AddressPool {
 public:
  explicit AddressPool(VirtualNetwork network, PoolLimits limits = {});

  [[nodiscard]] const VirtualNetwork& network() const { return network_; }
  /// The number of `name`, a new one if it has none; the name counts as used now. Nothing at the bound.
  [[nodiscard]] std::optional<std::uint32_t> assign(Instant now, const model::DnsName& name);
  /// The name behind an address; it counts as used now. Null for addresses that stand for no name.
  [[nodiscard]] const model::DnsName* name_of(Instant now, const IpAddress& address);

  /// The same two questions without any effect: nothing is assigned, and nothing counts as used.
  [[nodiscard]] std::optional<std::uint32_t> number_of(const model::DnsName& name) const;
  [[nodiscard]] const model::DnsName* look_up(const IpAddress& address) const;

  /// Moves to other ranges; names keep their numbers where these exist there.
  void move_to(VirtualNetwork network);

  /// Oldest first, as restore() wants them back after a restart.
  [[nodiscard]] std::vector<AssignedName> names() const;
  /// Entries that do not fit (number taken or out of range, bound reached) are left out.
  void restore(const std::vector<AssignedName>& names);
  [[nodiscard]] std::size_t size() const { return by_name_.size(); }
  /// Grows with each new name: tells the owner when to save.
  [[nodiscard]] std::uint64_t generation() const { return generation_; }

 private:
  using Order = std::list<AssignedName>;

  void touch(Order::iterator entry, Instant now);
  bool make_room(Instant now);
  [[nodiscard]] std::optional<std::uint32_t> free_number(const model::DnsName& name) const;
  void insert(AssignedName entry);
  void erase(Order::iterator entry);

  VirtualNetwork network_;
  PoolLimits limits_;
  Order order_;  ///< least recently used first
  std::unordered_map<std::string, Order::iterator> by_name_;
  std::unordered_map<std::uint32_t, Order::iterator> by_number_;
  std::uint64_t generation_ = 0;
};

}  // namespace postern::resolver
