// The version of all programs, from the project's CMakeLists.txt.
#pragma once

#include <string>

namespace postern::config {

/// Such as "0.1.0".
[[nodiscard]] std::string version();

}  // namespace postern::config
