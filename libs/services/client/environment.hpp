// The process's environment as the option parser wants it.
#pragma once

#include <unistd.h>

#include <string_view>

#include "config/parser.hpp"

namespace postern::client {

[[nodiscard]] inline config::Variables environment() {
  config::Variables result;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::size_t equals = text.find('=');
    if (equals != std::string_view::npos) result.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return result;
}

}  // namespace postern::client
