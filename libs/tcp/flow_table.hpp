// All flows of an endpoint: found by tuple (open addressing, linear probing) or by id (slab handle), both O(1).
#pragma once

#include <cstdint>
#include <vector>

#include "base/slab.hpp"
#include "tcp/flow.hpp"
#include "tcp/siphash.hpp"

namespace postern::tcp {

class FlowTable {
 public:
  FlowTable(const SipKey& key, std::size_t flows_max) : key_(key), flows_max_(flows_max) {}

  [[nodiscard]] std::uint64_t hash(const FlowTuple& tuple) const;
  [[nodiscard]] Flow* find(const FlowTuple& tuple, std::uint64_t hash);
  /// Also flows in TIME-WAIT, of which the owner knows nothing.
  [[nodiscard]] Flow* find(SlabHandle handle) { return flows_.find(handle); }
  /// Only flows whose id the owner may use.
  [[nodiscard]] Flow* find_live(FlowId id) { return const_cast<Flow*>(std::as_const(*this).find_live(id)); }
  [[nodiscard]] const Flow* find_live(FlowId id) const;
  [[nodiscard]] bool is_full() const { return flows_.size() >= flows_max_; }
  /// The tuple must not be in the table, which must not be full.
  Flow& insert(const Segment& syn, std::uint64_t hash, const FlowSettings& settings, Instant now);
  void erase(Flow& flow);
  /// With flows in TIME-WAIT.
  [[nodiscard]] std::size_t size() const { return flows_.size(); }

 private:
  /// `hash` is 0 in an empty entry; otherwise the upper half of the tuple's hash, with the lowest bit set.
  struct Entry {
    std::uint32_t hash = 0;
    std::uint32_t index = 0;
  };
  [[nodiscard]] static std::uint32_t mark(std::uint64_t hash) { return static_cast<std::uint32_t>(hash >> 32) | 1U; }
  [[nodiscard]] std::size_t home(std::uint32_t mark) const { return (mark >> 1) & (entries_.size() - 1); }
  void put(Entry entry);
  void grow();

  SipKey key_;
  std::size_t flows_max_;
  Slab<Flow> flows_;
  std::vector<Entry> entries_;
};

}  // namespace postern::tcp
