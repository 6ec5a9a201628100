// Section numbers are those of ISO/IEC 18004:2015.
#include "signin/qr_code.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "base/bytes.hpp"

namespace postern::signin {
namespace {

constexpr int kVersionMax = 15;
/// Table 9, level M: error correction codewords in a block, and blocks.
constexpr std::array<int, kVersionMax + 1> kCheckPerBlock = {0,  10, 16, 26, 18, 24, 16, 18,
                                                             22, 22, 26, 30, 22, 22, 24, 24};
constexpr std::array<int, kVersionMax + 1> kBlocks = {0, 1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10};

/// Codewords of a version: its modules without the function patterns, in eights.
int codewords_of(int version) {
  int modules = (16 * version + 128) * version + 64;
  if (version >= 2) {
    const int alignments = version / 7 + 2;
    modules -= (25 * alignments - 10) * alignments - 55;
  }
  if (version >= 7) modules -= 36;
  return modules / 8;
}

int data_codewords_of(int version) {
  const auto v = static_cast<std::size_t>(version);
  return codewords_of(version) - kCheckPerBlock[v] * kBlocks[v];
}

int count_bits_of(int version) {
  return version < 10 ? 8 : 16;
}

std::optional<int> version_for(std::size_t bytes) {
  for (int version = 1; version <= kVersionMax; ++version) {
    const std::size_t bits = 4 + static_cast<std::size_t>(count_bits_of(version)) + bytes * 8;
    if (bits <= static_cast<std::size_t>(data_codewords_of(version)) * 8) return version;
  }
  return std::nullopt;
}

/// §7.4: mode, count, bytes, terminator, padding.
Bytes data_codewords(std::string_view text, int version) {
  std::vector<bool> bits;
  const auto put = [&](std::uint32_t value, int count) {
    for (int i = count - 1; i >= 0; --i) bits.push_back(((value >> i) & 1U) != 0);
  };
  put(4, 4);
  put(static_cast<std::uint32_t>(text.size()), count_bits_of(version));
  for (const char c : text) put(static_cast<std::uint8_t>(c), 8);
  const auto room = static_cast<std::size_t>(data_codewords_of(version)) * 8;
  put(0, static_cast<int>(std::min<std::size_t>(4, room - bits.size())));
  while (bits.size() % 8 != 0) bits.push_back(false);
  for (bool first = true; bits.size() < room; first = !first) put(first ? 0xec : 0x11, 8);
  Bytes codewords(room / 8);
  for (std::size_t i = 0; i < bits.size(); ++i) {
    if (bits[i]) codewords[i / 8] = static_cast<std::uint8_t>(codewords[i / 8] | (0x80U >> (i % 8)));
  }
  return codewords;
}

/// In GF(256) with the polynomial of §7.5.2.
std::uint8_t multiply(std::uint8_t left, std::uint8_t right) {
  std::uint32_t product = 0;
  for (int i = 7; i >= 0; --i) {
    product = (product << 1) ^ ((product >> 7) * 0x11dU);
    product ^= ((std::uint32_t{right} >> i) & 1U) * std::uint32_t{left};
  }
  return static_cast<std::uint8_t>(product);
}

/// The remainder of the block after division by the generator of `count` roots.
Bytes check_codewords(ByteView block, std::size_t count) {
  Bytes generator(count);  // without its leading 1, highest power first
  generator.back() = 1;
  std::uint8_t root = 1;
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t j = 0; j < count; ++j) {
      generator[j] = multiply(generator[j], root);
      if (j + 1 < count) generator[j] ^= generator[j + 1];
    }
    root = multiply(root, 2);
  }
  Bytes remainder(count);
  for (const std::uint8_t byte : block) {
    const auto factor = static_cast<std::uint8_t>(byte ^ remainder.front());
    std::shift_left(remainder.begin(), remainder.end(), 1);
    remainder.back() = 0;
    for (std::size_t i = 0; i < count; ++i) remainder[i] ^= multiply(generator[i], factor);
  }
  return remainder;
}

/// §7.6: blocks with their check codewords, interleaved.
Bytes interleaved(ByteView data, int version) {
  const auto v = static_cast<std::size_t>(version);
  const auto blocks = static_cast<std::size_t>(kBlocks[v]);
  const auto check = static_cast<std::size_t>(kCheckPerBlock[v]);
  const auto all = static_cast<std::size_t>(codewords_of(version));
  const std::size_t short_blocks = blocks - all % blocks;
  const std::size_t short_data = all / blocks - check;
  std::vector<ByteView> parts;
  std::vector<Bytes> checks;
  for (std::size_t i = 0, at = 0; i < blocks; ++i) {
    parts.push_back(data.subspan(at, short_data + (i < short_blocks ? 0 : 1)));
    checks.push_back(check_codewords(parts.back(), check));
    at += parts.back().size();
  }
  Bytes result;
  for (std::size_t i = 0; i <= short_data; ++i) {
    for (const ByteView part : parts) {
      if (i < part.size()) result.push_back(part[i]);
    }
  }
  for (std::size_t i = 0; i < check; ++i) {
    for (const Bytes& each : checks) result.push_back(each[i]);
  }
  return result;
}

/// Annex E: rows and columns in which alignment patterns stand.
std::vector<int> alignment_positions(int version) {
  if (version == 1) return {};
  const int count = version / 7 + 2;
  const int size = version * 4 + 17;
  const int step = (version * 4 + count * 2 + 1) / (count * 2 - 2) * 2;
  std::vector<int> positions(static_cast<std::size_t>(count), 6);
  for (int i = count - 1, at = size - 7; i >= 1; --i, at -= step) positions[static_cast<std::size_t>(i)] = at;
  return positions;
}

bool mask_inverts(int mask, int x, int y) {
  switch (mask) {
    case 0:
      return (x + y) % 2 == 0;
    case 1:
      return y % 2 == 0;
    case 2:
      return x % 3 == 0;
    case 3:
      return (x + y) % 3 == 0;
    case 4:
      return (x / 3 + y / 2) % 2 == 0;
    case 5:
      return x * y % 2 + x * y % 3 == 0;
    case 6:
      return (x * y % 2 + x * y % 3) % 2 == 0;
    default:
      return ((x + y) % 2 + x * y % 3) % 2 == 0;
  }
}

}  // namespace

/// Draws into one code: patterns, bits, mask.
class QrPainter {
 public:
  explicit QrPainter(int version) : version_(version), code_(version), fixed_(code_.dark_.size()) {}

  void draw(ByteView codewords) {
    draw_patterns();
    draw_codewords(codewords);
    int best = 0;
    int least = 0;
    for (int mask = 0; mask < 8; ++mask) {
      apply(mask);
      const int penalty = penalty_of();
      if (mask == 0 || penalty < least) {
        best = mask;
        least = penalty;
      }
      invert(mask);  // twice is not at all
    }
    apply(best);
  }
  [[nodiscard]] QrCode take() { return std::move(code_); }

 private:
  void set_fixed(int x, int y, bool dark) {
    code_.dark_[code_.index(x, y)] = dark;
    fixed_[code_.index(x, y)] = true;
  }

  void draw_patterns() {
    const int size = code_.size();
    for (int i = 0; i < size; ++i) {
      set_fixed(6, i, i % 2 == 0);
      set_fixed(i, 6, i % 2 == 0);
    }
    draw_finder(3, 3);
    draw_finder(size - 4, 3);
    draw_finder(3, size - 4);
    const auto positions = alignment_positions(version_);
    for (const int x : positions) {
      for (const int y : positions) {
        const bool corner = (x == 6 && y == 6) || (x == 6 && y == size - 7) || (x == size - 7 && y == 6);
        if (!corner) draw_alignment(x, y);
      }
    }
    draw_format(0);  // reserves the place
    draw_version();
  }

  void draw_finder(int cx, int cy) {
    for (int dy = -4; dy <= 4; ++dy) {
      for (int dx = -4; dx <= 4; ++dx) {
        const int x = cx + dx;
        const int y = cy + dy;
        if (x < 0 || y < 0 || x >= code_.size() || y >= code_.size()) continue;
        const int ring = std::max(std::abs(dx), std::abs(dy));
        set_fixed(x, y, ring != 2 && ring != 4);
      }
    }
  }

  void draw_alignment(int cx, int cy) {
    for (int dy = -2; dy <= 2; ++dy) {
      for (int dx = -2; dx <= 2; ++dx) set_fixed(cx + dx, cy + dy, std::max(std::abs(dx), std::abs(dy)) != 1);
    }
  }

  /// §7.9: BCH(15,5) over level M (00) and the mask.
  void draw_format(int mask) {
    const auto data = static_cast<std::uint32_t>(mask);
    std::uint32_t rest = data;
    for (int i = 0; i < 10; ++i) rest = (rest << 1) ^ ((rest >> 9) * 0x537U);
    const std::uint32_t bits = ((data << 10) | rest) ^ 0x5412U;
    const auto bit = [bits](int i) { return ((bits >> i) & 1U) != 0; };
    const int size = code_.size();
    for (int i = 0; i <= 5; ++i) set_fixed(8, i, bit(i));
    set_fixed(8, 7, bit(6));
    set_fixed(8, 8, bit(7));
    set_fixed(7, 8, bit(8));
    for (int i = 9; i < 15; ++i) set_fixed(14 - i, 8, bit(i));
    for (int i = 0; i < 8; ++i) set_fixed(size - 1 - i, 8, bit(i));
    for (int i = 8; i < 15; ++i) set_fixed(8, size - 15 + i, bit(i));
    set_fixed(8, size - 8, true);
  }

  /// §7.10: BCH(18,6) over the version, from 7 on.
  void draw_version() {
    if (version_ < 7) return;
    auto rest = static_cast<std::uint32_t>(version_);
    for (int i = 0; i < 12; ++i) rest = (rest << 1) ^ ((rest >> 11) * 0x1f25U);
    const std::uint32_t bits = (static_cast<std::uint32_t>(version_) << 12) | rest;
    for (int i = 0; i < 18; ++i) {
      const int far = code_.size() - 11 + i % 3;
      const bool dark = ((bits >> i) & 1U) != 0;
      set_fixed(far, i / 3, dark);
      set_fixed(i / 3, far, dark);
    }
  }

  /// §7.7.3: two columns at a time, up and down, from the right.
  void draw_codewords(ByteView codewords) {
    const int size = code_.size();
    std::size_t at = 0;
    for (int right = size - 1; right >= 1; right -= 2) {
      if (right == 6) right = 5;  // the column of the timing pattern
      const bool upward = ((right + 1) & 2) == 0;
      for (int step = 0; step < size; ++step) {
        const int y = upward ? size - 1 - step : step;
        for (int x = right; x > right - 2; --x) {
          if (fixed_[code_.index(x, y)] || at >= codewords.size() * 8) continue;
          code_.dark_[code_.index(x, y)] = ((std::uint32_t{codewords[at / 8]} >> (7 - at % 8)) & 1U) != 0;
          ++at;
        }
      }
    }
  }

  void invert(int mask) {
    for (int y = 0; y < code_.size(); ++y) {
      for (int x = 0; x < code_.size(); ++x) {
        const std::size_t at = code_.index(x, y);
        if (!fixed_[at] && mask_inverts(mask, x, y)) code_.dark_[at] = !code_.dark_[at];
      }
    }
  }

  void apply(int mask) {
    invert(mask);
    draw_format(mask);
  }

  /// §7.8.3: what makes a code hard to read.
  [[nodiscard]] int penalty_of() const {
    const int size = code_.size();
    int penalty = 0;
    int dark = 0;
    for (int i = 0; i < size; ++i) {
      penalty += penalty_of_line([&](int j) { return code_.is_dark(j, i); });
      penalty += penalty_of_line([&](int j) { return code_.is_dark(i, j); });
      for (int j = 0; j < size; ++j) {
        if (code_.is_dark(i, j)) ++dark;
        if (i == 0 || j == 0) continue;
        const bool one = code_.is_dark(i, j);
        const bool same =
            one == code_.is_dark(i - 1, j) && one == code_.is_dark(i, j - 1) && one == code_.is_dark(i - 1, j - 1);
        if (same) penalty += 3;
      }
    }
    const int percent = dark * 100 / (size * size);
    return penalty + std::abs(percent - 50) / 5 * 10;
  }

  template <typename IsDark>
  [[nodiscard]] int penalty_of_line(IsDark&& is_dark) const {
    constexpr std::uint32_t kFinderThenLight = 0b10111010000;
    constexpr std::uint32_t kLightThenFinder = 0b00001011101;
    int penalty = 0;
    int run = 0;
    std::uint32_t window = 0;
    for (int i = 0; i < code_.size(); ++i) {
      const bool dark = is_dark(i);
      run = i > 0 && dark == is_dark(i - 1) ? run + 1 : 1;
      if (run == 5) penalty += 3;
      if (run > 5) ++penalty;
      window = ((window << 1) | (dark ? 1U : 0U)) & 0x7ffU;
      if (i >= 10 && (window == kFinderThenLight || window == kLightThenFinder)) penalty += 40;
    }
    return penalty;
  }

  int version_;
  QrCode code_;
  std::vector<bool> fixed_;
};

std::optional<QrCode> QrCode::make(std::string_view text) {
  const auto version = version_for(text.size());
  if (!version) return std::nullopt;
  QrPainter painter(*version);
  painter.draw(interleaved(data_codewords(text, *version), *version));
  return painter.take();
}

std::string QrCode::svg() const {
  constexpr int kQuiet = 4;
  const std::string side = std::to_string(size_ + 2 * kQuiet);
  std::string text =
      "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"qr\" role=\"img\" aria-label=\"QR code\" "
      "viewBox=\"0 0 " +
      side + ' ' + side + "\" shape-rendering=\"crispEdges\"><rect width=\"" + side + "\" height=\"" + side +
      "\" fill=\"#fff\"/><path fill=\"#000\" d=\"";
  for (int y = 0; y < size_; ++y) {
    for (int x = 0; x < size_; ++x) {
      if (!is_dark(x, y)) continue;
      int run = 1;
      while (x + run < size_ && is_dark(x + run, y)) ++run;
      text += 'M' + std::to_string(x + kQuiet) + ' ' + std::to_string(y + kQuiet) + 'h' + std::to_string(run) + "v1h-" +
              std::to_string(run) + 'z';
      x += run;
    }
  }
  return text + "\"/></svg>";
}

}  // namespace postern::signin
