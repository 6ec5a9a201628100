#include "tcp/flow_table.hpp"

#include <cstdlib>

namespace postern::tcp {

namespace {

constexpr std::size_t kEntriesMin = 64;

}  // namespace

std::uint64_t FlowTable::hash(const FlowTuple& tuple) const {
  std::array<std::uint8_t, 36> bytes{};
  ByteWriter writer(bytes);
  writer.view(tuple.local.ip.bytes());
  writer.view(tuple.remote.ip.bytes());
  writer.u16(tuple.local.port);
  writer.u16(tuple.remote.port);
  return siphash(key_, writer.written());
}

Flow* FlowTable::find(const FlowTuple& tuple, std::uint64_t hash) {
  if (entries_.empty()) return nullptr;
  const std::uint32_t wanted = mark(hash);
  for (std::size_t at = home(wanted);; at = (at + 1) & (entries_.size() - 1)) {
    const Entry& entry = entries_[at];
    if (entry.hash == 0) return nullptr;
    if (entry.hash != wanted) continue;
    Flow& flow = flows_.at(entry.index);
    if (flow.tuple() == tuple) return &flow;
  }
}

const Flow* FlowTable::find_live(FlowId id) const {
  const Flow* flow = flows_.find(SlabHandle{id.value});
  return flow != nullptr && flow->is_live() ? flow : nullptr;
}

void FlowTable::put(Entry entry) {
  std::size_t at = home(entry.hash);
  while (entries_[at].hash != 0) at = (at + 1) & (entries_.size() - 1);
  entries_[at] = entry;
}

void FlowTable::grow() {
  std::vector<Entry> old(std::max(kEntriesMin, entries_.size() * 2));
  old.swap(entries_);
  for (const Entry& entry : old) {
    if (entry.hash != 0) put(entry);
  }
}

Flow& FlowTable::insert(const Segment& syn, std::uint64_t hash, const FlowSettings& settings, Instant now) {
  // At most half full, so that probing stays short.
  if ((flows_.size() + 1) * 2 > entries_.size()) grow();
  Flow& flow = flows_.emplace(syn, hash, settings, now);
  put({mark(hash), flow.handle().index()});
  return flow;
}

void FlowTable::erase(Flow& flow) {
  const std::size_t mask = entries_.size() - 1;
  std::size_t hole = home(mark(flow.hash()));
  while (entries_[hole].hash == 0 || entries_[hole].index != flow.handle().index()) {
    if (entries_[hole].hash == 0) std::abort();
    hole = (hole + 1) & mask;
  }
  // Entries behind the hole move up unless that would put them before their home.
  for (std::size_t at = (hole + 1) & mask; entries_[at].hash != 0; at = (at + 1) & mask) {
    if (((at - home(entries_[at].hash)) & mask) < ((at - hole) & mask)) continue;
    entries_[hole] = entries_[at];
    hole = at;
  }
  entries_[hole] = Entry();
  flows_.erase(flow.handle());
}

}  // namespace postern::tcp
