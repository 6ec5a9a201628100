// JSON (base/json.hpp) under the name by which code about tokens knows it.
#pragma once

#include "base/json.hpp"

namespace postern::identity {
namespace json = ::postern::json;
}  // namespace postern::identity
