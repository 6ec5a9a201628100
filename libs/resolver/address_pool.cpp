#include "resolver/address_pool.hpp"

#include <algorithm>

namespace postern::resolver {

namespace {

/// FNV-1a, folded: needs no secrecy, only the same value in every process.
std::uint32_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : text) hash = (hash ^ static_cast<std::uint8_t>(c)) * 0x100000001b3U;
  return static_cast<std::uint32_t>(hash ^ (hash >> 32));
}

}  // namespace

AddressPool::AddressPool(VirtualNetwork network, PoolLimits limits) : network_(network), limits_(limits) {
  // Probing stays short while at most half of the numbers are taken.
  limits_.names_max = std::min<std::size_t>(limits_.names_max, network_.numbers_end() / 2);
}

std::optional<std::uint32_t> AddressPool::assign(Instant now, const model::DnsName& name) {
  if (const auto known = by_name_.find(name.text()); known != by_name_.end()) {
    touch(known->second, now);
    return known->second->number;
  }
  if (!make_room(now)) return std::nullopt;
  const auto number = free_number(name);
  if (!number) return std::nullopt;
  insert({name, *number, now});
  ++generation_;
  return number;
}

const model::DnsName* AddressPool::name_of(Instant now, const IpAddress& address) {
  const auto number = network_.number_of(address);
  if (!number) return nullptr;
  const auto found = by_number_.find(*number);
  if (found == by_number_.end()) return nullptr;
  touch(found->second, now);
  return &found->second->name;
}

std::optional<std::uint32_t> AddressPool::number_of(const model::DnsName& name) const {
  const auto known = by_name_.find(name.text());
  if (known == by_name_.end()) return std::nullopt;
  return known->second->number;
}

const model::DnsName* AddressPool::look_up(const IpAddress& address) const {
  const auto number = network_.number_of(address);
  const auto found = number ? by_number_.find(*number) : by_number_.end();
  return found == by_number_.end() ? nullptr : &found->second->name;
}

void AddressPool::move_to(VirtualNetwork network) {
  network_ = network;
  for (auto entry = order_.begin(); entry != order_.end();) {
    const auto current = entry++;
    if (current->number >= network_.numbers_end()) erase(current);
  }
  ++generation_;
}

std::vector<AssignedName> AddressPool::names() const {
  return {order_.begin(), order_.end()};
}

void AddressPool::restore(const std::vector<AssignedName>& names) {
  for (const AssignedName& entry : names) {
    const bool fits = entry.number >= VirtualNetwork::kFirstName && entry.number < network_.numbers_end() &&
                      by_name_.size() < limits_.names_max;
    if (fits && !by_number_.contains(entry.number) && !by_name_.contains(entry.name.text())) insert(entry);
  }
}

void AddressPool::touch(Order::iterator entry, Instant now) {
  entry->used = now;
  order_.splice(order_.end(), order_, entry);
}

bool AddressPool::make_room(Instant now) {
  if (by_name_.size() < limits_.names_max) return true;
  if (order_.empty() || now - order_.front().used < limits_.hold) return false;
  erase(order_.begin());
  return true;
}

std::optional<std::uint32_t> AddressPool::free_number(const model::DnsName& name) const {
  if (network_.numbers_end() <= VirtualNetwork::kFirstName) return std::nullopt;
  const std::uint32_t count = network_.numbers_end() - VirtualNetwork::kFirstName;
  std::uint32_t at = hash_of(name.text()) % count;
  for (std::uint32_t tries = 0; tries < count; ++tries, at = (at + 1) % count) {
    const std::uint32_t number = VirtualNetwork::kFirstName + at;
    if (!by_number_.contains(number)) return number;
  }
  return std::nullopt;
}

void AddressPool::insert(AssignedName entry) {
  const auto at = order_.insert(order_.end(), std::move(entry));
  by_name_.emplace(at->name.text(), at);
  by_number_.emplace(at->number, at);
}

void AddressPool::erase(Order::iterator entry) {
  by_name_.erase(entry->name.text());
  by_number_.erase(entry->number);
  order_.erase(entry);
}

}  // namespace postern::resolver
