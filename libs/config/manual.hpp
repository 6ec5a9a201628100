// A program's manual page (mdoc(7)): commands, options, environment and exit status come from the tables that also
// parse the command line; what only a person can say is passed in beside them.
#pragma once

#include <string>
#include <vector>

#include "config/option.hpp"

namespace postern::config {

struct ManualEntry {
  std::string term{};      ///< a path, or what an example does
  std::string sentence{};  ///< what the path is for, or the example's command lines
};

struct ManualReference {
  std::string name{};
  int section = 8;
};

struct Manual {
  int section = 8;
  std::string date{};  ///< "November 22, 2026"
  std::vector<std::string> description{};
  std::vector<ManualEntry> files{};
  std::vector<ManualEntry> examples{};
  std::vector<ManualReference> see_also{};
};

/// The page as mdoc source, in ASCII.
[[nodiscard]] std::string manual_page(const Program& program, const Manual& manual);

}  // namespace postern::config
