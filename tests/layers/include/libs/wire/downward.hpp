// What tools/layers must not complain about: an include of a lower layer.
#pragma once

#include "base/upward.hpp"
