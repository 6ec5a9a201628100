#include "base/json.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace postern::json {

namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

void append_utf8(std::string& out, std::uint32_t point) {
  const auto push = [&out](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (point < 0x80) {
    push(point);
  } else if (point < 0x800) {
    push(0xc0 | (point >> 6));
    push(0x80 | (point & 63));
  } else if (point < 0x10000) {
    push(0xe0 | (point >> 12));
    push(0x80 | ((point >> 6) & 63));
    push(0x80 | (point & 63));
  } else {
    push(0xf0 | (point >> 18));
    push(0x80 | ((point >> 12) & 63));
    push(0x80 | ((point >> 6) & 63));
    push(0x80 | (point & 63));
  }
}

/// Recursive descent; the depth bound is also the bound of the call stack.
class Parser {
 public:
  Parser(std::string_view text, unsigned depth) : text_(text), depth_(depth) {}

  std::expected<Value, Error> document() {
    Value value;
    skip_blanks();
    if (!read_value(value)) return std::unexpected(error_);
    skip_blanks();
    if (at_ != text_.size()) return std::unexpected(Error::TrailingBytes);
    return value;
  }

 private:
  bool fail(Error error) {
    error_ = error;
    return false;
  }
  [[nodiscard]] bool at_end() const { return at_ == text_.size(); }
  [[nodiscard]] char peek() const { return at_end() ? '\0' : text_[at_]; }
  bool take(char c) {
    if (at_end() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void skip_blanks() {
    while (!at_end() && std::string_view(" \t\r\n").contains(text_[at_])) ++at_;
  }

  bool read_value(Value& out) {
    switch (peek()) {
      case '{':
        return read_object(out);
      case '[':
        return read_array(out);
      case '"': {
        std::string text;
        if (!read_string(text)) return false;
        out = Value(std::move(text));
        return true;
      }
      case 't':
        return read_word("true", true, out);
      case 'f':
        return read_word("false", false, out);
      case 'n':
        return read_word("null", {}, out);
      default:
        return read_number(out);
    }
  }

  bool read_word(std::string_view word, Value value, Value& out) {
    if (!text_.substr(at_).starts_with(word)) return fail(Error::Syntax);
    at_ += word.size();
    out = std::move(value);
    return true;
  }

  bool enter() {
    if (depth_ == 0) return fail(Error::TooDeep);
    --depth_;
    ++at_;
    skip_blanks();
    return true;
  }
  bool leave() {
    ++depth_;
    return true;
  }

  bool read_array(Value& out) {
    if (!enter()) return false;
    Array items;
    if (!take(']')) {
      do {
        skip_blanks();
        if (!read_value(items.emplace_back())) return false;
        skip_blanks();
      } while (take(','));
      if (!take(']')) return fail(Error::Syntax);
    }
    out = Value(std::move(items));
    return leave();
  }

  bool read_object(Value& out) {
    if (!enter()) return false;
    Object members;
    if (!take('}')) {
      do {
        skip_blanks();
        auto& [key, value] = members.emplace_back();
        if (peek() != '"') return fail(Error::Syntax);
        if (!read_string(key)) return false;
        skip_blanks();
        if (!take(':')) return fail(Error::Syntax);
        skip_blanks();
        if (!read_value(value)) return false;
        skip_blanks();
      } while (take(','));
      if (!take('}')) return fail(Error::Syntax);
    }
    if (has_duplicates(members)) return fail(Error::DuplicateKey);
    out = Value(std::move(members));
    return leave();
  }

  static bool has_duplicates(const Object& members) {
    std::vector<std::string_view> keys;
    keys.reserve(members.size());
    for (const auto& [key, value] : members) keys.push_back(key);
    std::sort(keys.begin(), keys.end());
    return std::adjacent_find(keys.begin(), keys.end()) != keys.end();
  }

  bool read_string(std::string& out) {
    ++at_;
    while (!at_end()) {
      const char c = text_[at_];
      if (take('"')) return true;
      if (take('\\')) {
        if (!read_escape(out)) return false;
        continue;
      }
      if (static_cast<unsigned char>(c) < 0x20) return fail(Error::Syntax);
      const std::size_t size = utf8_sequence_size(text_.substr(at_));
      if (size == 0) return fail(Error::BadUtf8);
      out.append(text_.substr(at_, size));
      at_ += size;
    }
    return fail(Error::Syntax);
  }

  bool read_escape(std::string& out) {
    constexpr std::string_view kNames = "\"\\/bfnrt";
    constexpr std::string_view kValues = "\"\\/\b\f\n\r\t";
    if (take('u')) return read_unicode_escape(out);
    const std::size_t index = at_end() ? std::string_view::npos : kNames.find(text_[at_]);
    if (index == std::string_view::npos) return fail(Error::Syntax);
    out.push_back(kValues[index]);
    ++at_;
    return true;
  }

  bool read_unicode_escape(std::string& out) {
    std::uint32_t point = 0;
    if (!read_hex4(point)) return false;
    if (point >= 0xdc00 && point < 0xe000) return fail(Error::BadUtf8);
    if (point >= 0xd800 && point < 0xdc00) {
      std::uint32_t low = 0;
      if (!take('\\') || !take('u')) return fail(Error::BadUtf8);
      if (!read_hex4(low)) return false;
      if (low < 0xdc00 || low >= 0xe000) return fail(Error::BadUtf8);
      point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    }
    append_utf8(out, point);
    return true;
  }

  bool read_hex4(std::uint32_t& out) {
    const std::string_view digits = text_.substr(at_, 4);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out, 16);
    if (digits.size() != 4 || error != std::errc{} || end != digits.data() + 4) return fail(Error::Syntax);
    at_ += 4;
    return true;
  }

  bool skip_digits() {
    const std::size_t start = at_;
    while (is_digit(peek())) ++at_;
    return at_ != start;
  }

  bool read_number(Value& out) {
    const std::size_t start = at_;
    take('-');
    if (!take('0') && !skip_digits()) return fail(Error::Syntax);
    bool exact = true;
    if (take('.')) {
      exact = false;
      if (!skip_digits()) return fail(Error::Syntax);
    }
    if (take('e') || take('E')) {
      exact = false;
      if (!take('+')) take('-');
      if (!skip_digits()) return fail(Error::Syntax);
    }
    const std::string_view number = text_.substr(start, at_ - start);
    if (!exact) return convert<double>(number, out);
    return number.front() == '-' ? convert<std::int64_t>(number, out) : convert<std::uint64_t>(number, out);
  }

  template <typename T>
  bool convert(std::string_view number, Value& out) {
    T value{};
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (error != std::errc{}) return fail(Error::BadNumber);
    out = Value(value);
    return true;
  }

  std::string_view text_;
  unsigned depth_;
  std::size_t at_ = 0;
  Error error_ = Error::Syntax;
};

void write_string(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out.push_back('"');
  while (!text.empty()) {
    const char c = text.front();
    const std::size_t size = utf8_sequence_size(text);
    if (size == 0) {
      append_utf8(out, 0xfffd);
    } else if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out.append("\\u00");
      out.push_back(kHex[static_cast<unsigned char>(c) >> 4]);
      out.push_back(kHex[static_cast<unsigned char>(c) & 15]);
    } else {
      out.append(text.substr(0, size));
    }
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  out.push_back('"');
}

template <typename T>
void write_number(std::string& out, T value) {
  std::array<char, 32> text{};
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), value);
  out.append(text.data(), end);
}

}  // namespace

Value::Value(Array value) : data_(std::move(value)) {}
Value::Value(Object value) : data_(std::move(value)) {}
bool Value::operator==(const Value&) const = default;

std::optional<bool> Value::as_bool() const {
  const bool* value = std::get_if<bool>(&data_);
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::optional<std::int64_t> Value::as_integer() const {
  const auto* value = std::get_if<std::int64_t>(&data_);
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::optional<std::uint64_t> Value::as_unsigned() const {
  if (const auto* value = std::get_if<std::uint64_t>(&data_)) return *value;
  const auto value = as_integer();
  if (!value || *value < 0) return std::nullopt;
  return static_cast<std::uint64_t>(*value);
}

std::optional<double> Value::as_number() const {
  if (const auto* value = std::get_if<double>(&data_)) return *value;
  if (const auto* value = std::get_if<std::int64_t>(&data_)) return static_cast<double>(*value);
  if (const auto* value = std::get_if<std::uint64_t>(&data_)) return static_cast<double>(*value);
  return std::nullopt;
}

const Value* Value::find(std::string_view key) const {
  const Object* members = as_object();
  if (members == nullptr) return nullptr;
  for (const auto& [name, value] : *members) {
    if (name == key) return &value;
  }
  return nullptr;
}

std::expected<Value, Error> parse(std::string_view text, Limits limits) {
  if (text.size() > limits.bytes) return std::unexpected(Error::TooLarge);
  return Parser(text, limits.depth).document();
}

class Writer {
 public:
  static void append(std::string& out, const Value& value) {
    std::visit([&out](const auto& data) { append_data(out, data); }, value.data_);
  }

 private:
  static void append_data(std::string& out, std::nullptr_t) { out.append("null"); }
  static void append_data(std::string& out, bool value) { out.append(value ? "true" : "false"); }
  static void append_data(std::string& out, std::int64_t value) { write_number(out, value); }
  static void append_data(std::string& out, std::uint64_t value) { write_number(out, value); }
  static void append_data(std::string& out, double value) {
    if (!std::isfinite(value)) return append_data(out, nullptr);
    const std::size_t start = out.size();
    write_number(out, value);
    // Without a mark of its kind the number would be read back as an integer.
    if (out.find_first_of(".e", start) == std::string::npos) out.append(".0");
  }
  static void append_data(std::string& out, const std::string& value) { write_string(out, value); }
  static void append_data(std::string& out, const Array& items) {
    out.push_back('[');
    bool first = true;
    for (const Value& item : items) {
      if (!std::exchange(first, false)) out.push_back(',');
      append(out, item);
    }
    out.push_back(']');
  }
  static void append_data(std::string& out, const Object& members) {
    out.push_back('{');
    bool first = true;
    for (const auto& [key, value] : members) {
      if (!std::exchange(first, false)) out.push_back(',');
      write_string(out, key);
      out.push_back(':');
      append(out, value);
    }
    out.push_back('}');
  }
};

std::string write(const Value& value) {
  std::string out;
  Writer::append(out, value);
  return out;
}

std::size_t utf8_sequence_size(std::string_view text) {
  const auto byte = [text](std::size_t i) -> std::uint32_t {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const std::uint32_t lead = byte(0);
  if (text.empty()) return 0;
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  const std::size_t size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  // The second byte has a narrower range where the lead alone would allow overlong forms, surrogates or > U+10FFFF.
  const std::uint32_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const std::uint32_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (byte(1) < low || byte(1) > high) return 0;
  for (std::size_t i = 2; i < size; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xbf) return 0;
  }
  return size;
}

}  // namespace postern::json
