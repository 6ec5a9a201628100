// QR codes (ISO/IEC 18004) for the one use that the sign-in pages have: a short URI as bytes, error correction M.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace postern::signin {

class QrCode {
 public:
  /// Nothing when the text has more than 412 bytes (version 15).
  [[nodiscard]] static std::optional<QrCode> make(std::string_view text);

  [[nodiscard]] int version() const { return (size_ - 17) / 4; }
  /// Modules of a side, without the quiet zone.
  [[nodiscard]] int size() const { return size_; }
  [[nodiscard]] bool is_dark(int x, int y) const { return dark_[index(x, y)]; }
  /// An SVG element of its own, four modules of white around it, no style and no script.
  [[nodiscard]] std::string svg() const;

 private:
  friend class QrPainter;
  explicit QrCode(int version) : size_(version * 4 + 17), dark_(static_cast<std::size_t>(size_ * size_)) {}
  [[nodiscard]] std::size_t index(int x, int y) const { return static_cast<std::size_t>(y * size_ + x); }

  int size_;
  std::vector<bool> dark_;
};

}  // namespace postern::signin
