// Strict JSON (RFC 8259) for tokens and the API: small, bounded, and with one reading of every text.
//
// Refused although many readers take them: duplicate keys, bad UTF-8, lone surrogates, integers that do not fit 64
// bits (they would lose digits as a double), anything after the value. Numbers without fraction and exponent are exact.
#pragma once

#include <concepts>
#include <cstdint>
#include <expected>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace postern::json {

class Value;
using Array = std::vector<Value>;
/// Members in the order of the text.
using Object = std::vector<std::pair<std::string, Value>>;

class Value {
 public:
  Value() = default;
  template <std::same_as<bool> T>
  Value(T value) : data_(value) {}
  template <std::integral T>
  requires(!std::same_as<T, bool>) Value(T value) {
    // Numbers up to 2^63-1 have one representation, so that equal numbers compare equal.
    if (std::in_range<std::int64_t>(value)) {
      data_ = static_cast<std::int64_t>(value);
    } else {
      data_ = static_cast<std::uint64_t>(value);
    }
  }
  Value(double value) : data_(value) {}
  Value(std::string value) : data_(std::move(value)) {}
  Value(std::string_view value) : data_(std::string(value)) {}
  Value(const char* value) : data_(std::string(value)) {}
  Value(Array value);
  Value(Object value);

  [[nodiscard]] bool is_null() const { return std::holds_alternative<std::nullptr_t>(data_); }
  [[nodiscard]] std::optional<bool> as_bool() const;
  /// Nothing for numbers with fraction or exponent, and outside the range.
  [[nodiscard]] std::optional<std::int64_t> as_integer() const;
  [[nodiscard]] std::optional<std::uint64_t> as_unsigned() const;
  /// Any number; one of 64 bits may lose digits.
  [[nodiscard]] std::optional<double> as_number() const;
  [[nodiscard]] const std::string* as_string() const { return std::get_if<std::string>(&data_); }
  [[nodiscard]] const Array* as_array() const { return std::get_if<Array>(&data_); }
  [[nodiscard]] const Object* as_object() const { return std::get_if<Object>(&data_); }
  /// The member of an object; null when this is no object or has no such member.
  [[nodiscard]] const Value* find(std::string_view key) const;
  bool operator==(const Value&) const;

 private:
  friend class Writer;
  std::variant<std::nullptr_t, bool, std::int64_t, std::uint64_t, double, std::string, Array, Object> data_;
};

enum class Error : std::uint8_t { TooLarge, TooDeep, Syntax, BadUtf8, BadNumber, DuplicateKey, TrailingBytes };

struct Limits {
  std::size_t bytes = 64 * 1024;
  unsigned depth = 16;
};

[[nodiscard]] std::expected<Value, Error> parse(std::string_view text, Limits limits = {});

/// Compact text. Bad UTF-8 in a string becomes U+FFFD, a number that is not finite becomes null.
[[nodiscard]] std::string write(const Value& value);

/// The size of the UTF-8 sequence at the start of `text`, 0 when it is not a valid one (RFC 3629 §4).
[[nodiscard]] std::size_t utf8_sequence_size(std::string_view text);

}  // namespace postern::json
