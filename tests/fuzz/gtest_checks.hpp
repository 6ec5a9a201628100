// Lets a fuzz target use the test utilities of a library: a failed expectation of theirs becomes a crash.
#pragma once

#include <gtest/gtest.h>

namespace postern::fuzz {

inline void expectations_abort() {
  // (inside the first input, because the flag is initialised by GoogleTest's own static code)
  static const bool once = [] {
    GTEST_FLAG_SET(throw_on_failure, true);
    return true;
  }();
  (void)once;
}

}  // namespace postern::fuzz
