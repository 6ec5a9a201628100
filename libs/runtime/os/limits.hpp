// Limits of the process.
#pragma once

#include <cstdint>

namespace postern::runtime {

/// Raises the soft limit of open files to the hard one (each flow of a connector is a descriptor); returns what holds.
std::uint64_t raise_open_files_limit();

}  // namespace postern::runtime
