#include "config/version.hpp"

namespace postern::config {

std::string version() {
  return POSTERN_VERSION;
}

}  // namespace postern::config
