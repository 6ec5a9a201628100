// What tools/layers must find: an include of a higher layer and a clock that is read.
#pragma once

#include "wire/downward.hpp"

template <typename Clock>
auto read_clock() {
  return Clock::now();
}
