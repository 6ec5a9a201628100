// Rendezvous hashing: every device orders the instances of a Connector in its own, stable way, so that load spreads and
// one instance more or less moves only its share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/bytes.hpp"
#include "model/ids.hpp"

namespace postern::client {

/// The digest is uniform already, so mixing it with the instance is enough (splitmix64's finaliser).
[[nodiscard]] inline std::uint64_t rendezvous_weight(const Digest& device, model::InstanceId instance) {
  std::uint64_t z = ByteReader(device).u64() ^ (instance.value * 0x9e3779b97f4a7c15U);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

/// Best first.
inline void order_by_rendezvous(const Digest& device, std::vector<model::InstanceId>& instances) {
  std::ranges::sort(instances, [&](model::InstanceId a, model::InstanceId b) {
    const auto left = rendezvous_weight(device, a);
    const auto right = rendezvous_weight(device, b);
    return left != right ? left > right : a < b;
  });
}

}  // namespace postern::client
