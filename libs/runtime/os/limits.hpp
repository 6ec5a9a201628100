// Limits of the process.
#pragma once

#include <cstdint>

namespace postern::runtime {

/// Raises the soft limit of open files to the hard one (each flow of a connector is a descriptor); returns what holds.
std::uint64_t raise_open_files_limit();

/// All threads allocate from one heap. Beside the data plane's thread the others allocate little, and a heap of its own
/// for each would hold some hundred kilobytes for ever. Call before the first thread starts.
void use_one_heap();

}  // namespace postern::runtime
