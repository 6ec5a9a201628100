// A number that cannot be mistaken for another: StrongId<struct UserTag> and StrongId<struct GroupTag> do not mix.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace postern {

template <typename Tag, typename Rep = std::uint64_t>
struct StrongId {
  Rep value{};

  constexpr StrongId() = default;
  constexpr explicit StrongId(Rep v) : value(v) {}
  constexpr auto operator<=>(const StrongId&) const = default;
};

}  // namespace postern

template <typename Tag, typename Rep>
struct std::hash<postern::StrongId<Tag, Rep>> {
  std::size_t operator()(const postern::StrongId<Tag, Rep>& id) const noexcept { return std::hash<Rep>{}(id.value); }
};
