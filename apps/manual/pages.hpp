// The manual pages of all programs: their option tables, and what only a person can say about them.
#pragma once

#include <string>
#include <vector>

#include "config/manual.hpp"

namespace postern::manual {

struct Page {
  std::string file{};  ///< "postern-server.8"
  std::string text{};  ///< mdoc
};

/// `date` is written on each page: "November 22, 2026".
[[nodiscard]] std::vector<Page> pages(const std::string& date);

}  // namespace postern::manual
