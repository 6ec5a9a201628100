#include "resolver/virtual_network.hpp"

#include <algorithm>
#include <array>

namespace postern::resolver {

namespace {

/// Shared address space (RFC 6598) first: home and company networks do not use it. Then benchmarking (RFC 2544), which
/// should be nowhere, then quarters of private space that few people have.
constexpr std::array<const char*, 12> kCandidates = {
    "100.96.0.0/12", "100.80.0.0/12", "100.112.0.0/12", "100.64.0.0/12", "198.18.0.0/15", "10.208.0.0/12",
    "10.176.0.0/12", "10.144.0.0/12", "10.112.0.0/12",  "10.80.0.0/12",  "172.28.0.0/14", "172.20.0.0/14"};

bool is_free(const IpPrefix& wanted, std::span<const IpPrefix> present) {
  return std::ranges::none_of(present, [&](const IpPrefix& taken) {
    return taken.address().family() == wanted.address().family() && taken.length() > 0 && taken.overlaps(wanted);
  });
}

std::optional<IpPrefix> choose_v4(std::span<const IpPrefix> present) {
  for (const char* text : kCandidates) {
    const auto candidate = IpPrefix::parse(text);
    if (candidate && is_free(*candidate, present)) return candidate;
  }
  return std::nullopt;
}

IpPrefix choose_v6(std::span<const IpPrefix> present, RandomSource& random) {
  // 56 random bits: a collision is next to impossible, so a few tries are as good as an endless loop.
  IpPrefix chosen;
  for (int tries = 0; tries < 16; ++tries) {
    std::array<std::uint8_t, 16> bytes{};
    random.fill(MutableBytes(bytes).subspan(1, 7));
    bytes[0] = 0xfd;
    chosen = IpPrefix::containing(*IpAddress::from_bytes(bytes), 64);
    if (is_free(chosen, present)) break;
  }
  return chosen;
}

}  // namespace

IpAddress VirtualNetwork::at(IpFamily family, std::uint32_t number) const {
  const ByteView base = of(family).address().bytes();
  std::array<std::uint8_t, 16> bytes{};
  std::copy(base.begin(), base.end(), bytes.begin());
  std::uint8_t* tail = bytes.data() + base.size() - 4;
  store_u32(tail, load_u32(tail) + number);
  return *IpAddress::from_bytes(ByteView(bytes).first(base.size()));
}

std::optional<std::uint32_t> VirtualNetwork::number_of(const IpAddress& address) const {
  if (!contains(address)) return std::nullopt;
  const ByteView bytes = address.bytes();
  const ByteView base = of(address.family()).address().bytes();
  const std::size_t head = bytes.size() - 4;
  if (!std::equal(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(head), base.begin())) return std::nullopt;
  return load_u32(bytes.data() + head) - load_u32(base.data() + head);
}

std::uint32_t VirtualNetwork::numbers_end() const {
  const unsigned bits = 32U - std::min(32U, v4.length());
  return bits == 0 ? 0 : (bits >= 32 ? UINT32_MAX : (1U << bits) - 1U);
}

std::optional<VirtualNetwork> choose_virtual_network(std::span<const IpPrefix> present,
                                                     const std::optional<VirtualNetwork>& previous,
                                                     RandomSource& random) {
  VirtualNetwork chosen;
  if (previous && is_free(previous->v4, present)) {
    chosen.v4 = previous->v4;
  } else if (const auto v4 = choose_v4(present)) {
    chosen.v4 = *v4;
  } else {
    return std::nullopt;
  }
  const bool keeps_v6 = previous && is_free(previous->v6, present);
  chosen.v6 = keeps_v6 ? previous->v6 : choose_v6(present, random);
  return chosen;
}

}  // namespace postern::resolver
