#include "relay_core/binding_table.hpp"

namespace postern::relay_core {

std::uint64_t BindingTable::hash(RouteKey route) const {
  return mix(route ^ seed_);
}

std::uint64_t BindingTable::hash(const SocketAddress& source) const {
  const ByteView bytes = source.ip.bytes();
  if (source.ip.is_v4()) return mix(seed_ ^ (std::uint64_t{load_u32(bytes.data())} << 16 | source.port));
  std::array<std::uint64_t, 2> words{};
  std::memcpy(words.data(), bytes.data(), 16);
  return mix(mix(seed_ ^ words[0]) ^ words[1] ^ (std::uint64_t{source.port} << 48));
}

Binding* BindingTable::find_route(RouteKey route) {
  const auto slot = by_route_.find(hash(route), [&](std::uint32_t at) { return bindings_[at].route == route; });
  return slot == SlotIndex::kNone ? nullptr : &bindings_[slot];
}

Binding* BindingTable::find_source(const SocketAddress& source) {
  const auto slot = by_source_.find(hash(source), [&](std::uint32_t at) { return bindings_[at].source == source; });
  return slot == SlotIndex::kNone ? nullptr : &bindings_[slot];
}

Binding* BindingTable::find_live_route(RouteKey route, Instant now) {
  Binding* binding = find_route(route);
  return binding != nullptr && now < binding->expires ? binding : nullptr;
}

Binding* BindingTable::find_live_source(const SocketAddress& source, Instant now) {
  Binding* binding = find_source(source);
  return binding != nullptr && now < binding->expires ? binding : nullptr;
}

Binding* BindingTable::add(RouteKey route) {
  if (used_ >= max_) return nullptr;
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(bindings_.size()));
    bindings_.emplace_back();
  }
  const std::uint32_t slot = free_.back();
  free_.pop_back();
  Binding& binding = bindings_[slot];
  binding = Binding{};
  binding.route = route;
  binding.used = true;
  by_route_.insert(slot, hash_of_route());
  ++used_;
  return &binding;
}

void BindingTable::move(Binding& binding, const SocketAddress& source) {
  Binding* holder = find_source(source);
  if (holder == &binding) return;
  if (holder != nullptr) remove(*holder);
  const std::uint32_t slot = slot_of(binding);
  // Port 0 is no source of a datagram: it marks a binding that has no address yet.
  if (binding.source.port != 0) by_source_.erase(slot, hash_of_source());
  binding.source = source;
  by_source_.insert(slot, hash_of_source());
}

void BindingTable::remove(Binding& binding) {
  const std::uint32_t slot = slot_of(binding);
  by_route_.erase(slot, hash_of_route());
  if (binding.source.port != 0) by_source_.erase(slot, hash_of_source());
  binding = Binding{};
  free_.push_back(slot);
  --used_;
}

void BindingTable::sweep(Instant now, std::size_t slots) {
  for (slots = std::min(slots, bindings_.size()); slots > 0; --slots) {
    if (sweep_at_ >= bindings_.size()) sweep_at_ = 0;
    Binding& binding = bindings_[sweep_at_++];
    if (binding.used && now >= binding.expires) remove(binding);
  }
}

}  // namespace postern::relay_core
