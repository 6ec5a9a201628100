// The tokens of a GraphQL document (October 2021, §2.1). Text is hostile: every read is bounded by it, and the number
// of tokens by the owner.
//
// Any Unicode character may stand in strings and comments, and \u{...} in strings, as later editions and the reference
// implementation have it; October 2021 stops at U+FFFF and has no control characters.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

#include "graphql/error.hpp"

namespace postern::graphql {

enum class TokenKind : std::uint8_t {
  Start,
  End,
  Punctuator,  ///< its text is one of ! $ & ( ) ... : = @ [ ] { | }
  Name,
  Int,
  Float,
  String,       ///< its text is what it means, escapes resolved
  BlockString,  ///< the same, without common indentation (§2.9.4)
};

struct Token {
  TokenKind kind = TokenKind::Start;
  /// Of punctuators, names and numbers as they are written.
  std::string text{};
  Location at{};

  [[nodiscard]] bool is(std::string_view punctuator) const {
    return kind == TokenKind::Punctuator && text == punctuator;
  }
  [[nodiscard]] bool is_keyword(std::string_view name) const { return kind == TokenKind::Name && text == name; }
  /// As errors name it.
  [[nodiscard]] std::string described() const;
};

class Lexer {
 public:
  /// `text` is UTF-8 and outlives the lexer.
  explicit Lexer(std::string_view text) : text_(text) {}

  /// The next one that is no comment, comma, byte order mark or blank; End again and again at the end.
  [[nodiscard]] std::expected<Token, Error> next();

 private:
  using Result = std::expected<Token, Error>;

  void skip_ignored();
  /// Past `characters` code points: counts lines and columns.
  void advance(std::size_t characters = 1);
  [[nodiscard]] std::string_view rest() const { return text_.substr(at_); }
  [[nodiscard]] bool has(std::string_view next) const { return rest().starts_with(next); }
  [[nodiscard]] char peek(std::size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  [[nodiscard]] std::string_view character() const;
  [[nodiscard]] std::string described_character() const;
  [[nodiscard]] std::unexpected<Error> fail(std::string what) const;
  [[nodiscard]] std::unexpected<Error> fail_at_character() const;

  [[nodiscard]] Result read_name();
  [[nodiscard]] Result read_number();
  [[nodiscard]] bool skip_digits();
  [[nodiscard]] Result read_string();
  [[nodiscard]] Result read_block_string();
  /// Behind the backslash; false at a bad one.
  [[nodiscard]] bool read_escape(std::string& out);
  [[nodiscard]] bool read_unicode_escape(std::string& out);
  /// Behind the "u": four hexadecimal digits, or as many as stand between braces.
  [[nodiscard]] bool read_code(char32_t& code);

  std::string_view text_;
  std::size_t at_ = 0;
  Location here_{1, 1};
};

/// Without common indentation and without blank first and last lines (§2.9.4).
[[nodiscard]] std::string block_string_value(std::string_view raw);

}  // namespace postern::graphql
