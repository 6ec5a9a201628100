// The version of all programs; the same as in CMakeLists.txt.
#pragma once

#include <string_view>

namespace postern::config {

inline constexpr std::string_view kVersion = "0.1.0";

}  // namespace postern::config
