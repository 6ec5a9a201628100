// Messages to people are one line, whatever was typed: control characters of quoted input are shown as '?'.
#pragma once

#include <algorithm>
#include <string>

namespace postern::config {

[[nodiscard]] inline std::string one_line(std::string text) {
  std::ranges::replace_if(
      text, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return text;
}

}  // namespace postern::config
