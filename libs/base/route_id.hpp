// The relay's name for a process, and the connection ids that carry it (PROTOCOL.md "Connection ids").
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>

#include "base/bytes.hpp"

namespace postern {

/// 7 random bytes that name one client process or connector instance at every relay, new at each start.
struct RouteId {
  std::array<std::uint8_t, 7> bytes{};
  constexpr auto operator<=>(const RouteId&) const = default;
};

/// `[worker:1][route id:7][random:8]`, the only length of connection id that Postern uses.
struct ConnectionId {
  static constexpr std::size_t kSize = 16;
  std::array<std::uint8_t, kSize> bytes{};

  [[nodiscard]] static ConnectionId make(std::uint8_t worker, const RouteId& route,
                                         const std::array<std::uint8_t, 8>& random) {
    ConnectionId id;
    id.bytes[0] = worker;
    std::memcpy(id.bytes.data() + 1, route.bytes.data(), route.bytes.size());
    std::memcpy(id.bytes.data() + 8, random.data(), random.size());
    return id;
  }
  [[nodiscard]] static std::optional<ConnectionId> from(ByteView view) {
    if (view.size() != kSize) return std::nullopt;
    ConnectionId id;
    std::memcpy(id.bytes.data(), view.data(), kSize);
    return id;
  }
  [[nodiscard]] std::uint8_t worker() const { return bytes[0]; }
  [[nodiscard]] RouteId route() const {
    RouteId route;
    std::memcpy(route.bytes.data(), bytes.data() + 1, route.bytes.size());
    return route;
  }
  constexpr auto operator<=>(const ConnectionId&) const = default;
};

}  // namespace postern

template <>
struct std::hash<postern::RouteId> {
  std::size_t operator()(const postern::RouteId& route) const noexcept {
    // The bytes are random already; seven of them folded into a word are as good as a hash.
    std::uint64_t word = 0;
    std::memcpy(&word, route.bytes.data(), route.bytes.size());
    return static_cast<std::size_t>(word * 0x9e3779b97f4a7c15U);
  }
};
template <>
struct std::hash<postern::ConnectionId> {
  std::size_t operator()(const postern::ConnectionId& id) const noexcept {
    std::uint64_t word = 0;
    std::memcpy(&word, id.bytes.data() + 8, sizeof word);
    return static_cast<std::size_t>(word * 0x9e3779b97f4a7c15U);
  }
};
