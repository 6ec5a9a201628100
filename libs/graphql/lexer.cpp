#include "graphql/lexer.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <vector>

namespace postern::graphql {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kBlockQuote = "\"\"\"";
constexpr std::string_view kEscapedBlockQuote = "\\\"\"\"";
constexpr char32_t kLastCode = 0x10FFFF;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_name_part(char c) {
  return is_name_start(c) || is_digit(c);
}
bool is_leading_surrogate(char32_t code) {
  return code >= 0xD800 && code <= 0xDBFF;
}
bool is_trailing_surrogate(char32_t code) {
  return code >= 0xDC00 && code <= 0xDFFF;
}

/// The code point of one whole UTF-8 sequence.
char32_t code_of(std::string_view sequence) {
  const auto byte = [&](std::size_t i) { return static_cast<char32_t>(static_cast<std::uint8_t>(sequence[i])); };
  if (sequence.size() == 1) return byte(0);
  char32_t code = byte(0) & (0x7FU >> sequence.size());
  for (std::size_t i = 1; i < sequence.size(); ++i) code = code << 6 | (byte(i) & 0x3F);
  return code;
}

void append_code(std::string& out, char32_t code) {
  const auto put = [&out](char32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xC0 | code >> 6);
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
  }
  put(0x80 | (code & 0x3F));
}

int hexadecimal(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (;;) {
    const std::size_t end = text.find_first_of("\r\n");
    lines.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return lines;
    text.remove_prefix(end + (text.substr(end).starts_with("\r\n") ? 2 : 1));
  }
}

std::size_t indentation(std::string_view line) {
  return std::min(line.find_first_not_of(" \t"), line.size());
}

}  // namespace

std::string Token::described() const {
  const std::string quoted = " \"" + text + "\"";
  switch (kind) {
    case TokenKind::Start:
      return "<SOF>";
    case TokenKind::End:
      return "<EOF>";
    case TokenKind::Punctuator:
      return quoted.substr(1);
    case TokenKind::Name:
      return "Name" + quoted;
    case TokenKind::Int:
      return "Int" + quoted;
    case TokenKind::Float:
      return "Float" + quoted;
    case TokenKind::String:
      return "String" + quoted;
    case TokenKind::BlockString:
      return "BlockString" + quoted;
  }
  return {};
}

std::string_view Lexer::character() const {
  return rest().substr(0, std::max<std::size_t>(json::utf8_sequence_size(rest()), 1));
}

std::string Lexer::described_character() const {
  if (at_ >= text_.size()) return "<EOF>";
  if (peek() == '"') return "'\"'";
  if (peek() >= 0x20 && peek() < 0x7F) return "\"" + std::string(1, peek()) + "\"";
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "U+%04X", static_cast<unsigned>(code_of(character())));
  return text.data();
}

std::unexpected<Error> Lexer::fail(std::string what) const {
  return std::unexpected(Error{"Syntax Error: " + std::move(what), {here_}});
}

std::unexpected<Error> Lexer::fail_at_character() const {
  if (peek() == '\'') return fail("Unexpected single quote character ('), did you mean to use a double quote (\")?");
  return fail("Unexpected character: " + described_character() + ".");
}

void Lexer::advance(std::size_t characters) {
  for (; characters > 0; --characters) {
    const bool is_line_end = peek() == '\n' || peek() == '\r';
    at_ += has("\r\n") ? 2 : character().size();
    here_ = is_line_end ? Location{here_.line + 1, 1} : Location{here_.line, here_.column + 1};
  }
}

void Lexer::skip_ignored() {
  while (at_ < text_.size()) {
    const char c = peek();
    if (c == '#') {
      while (at_ < text_.size() && peek() != '\n' && peek() != '\r') advance();
    } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == ',' || has(kByteOrderMark)) {
      advance();
    } else {
      return;
    }
  }
}

Lexer::Result Lexer::next() {
  skip_ignored();
  const Location at = here_;
  if (at_ >= text_.size()) return Token{TokenKind::End, {}, at};
  const char c = peek();
  if (is_name_start(c)) return read_name();
  if (is_digit(c) || c == '-') return read_number();
  if (has(kBlockQuote)) return read_block_string();
  if (c == '"') return read_string();
  if (has("...")) {
    advance(3);
    return Token{TokenKind::Punctuator, "...", at};
  }
  if (std::string_view("!$&():=@[]{|}").contains(c)) {
    advance();
    return Token{TokenKind::Punctuator, std::string(1, c), at};
  }
  return fail_at_character();
}

Lexer::Result Lexer::read_name() {
  Token token{TokenKind::Name, {}, here_};
  for (; is_name_part(peek()); advance()) token.text += peek();
  return token;
}

// --- numbers ---------------------------------------------------------------------------------------------------------

bool Lexer::skip_digits() {
  const std::size_t before = at_;
  while (is_digit(peek())) advance();
  return at_ > before;
}

Lexer::Result Lexer::read_number() {
  const auto no_digit = [this] {
    return fail("Invalid number, expected digit but got: " + described_character() + ".");
  };
  Token token{TokenKind::Int, {}, here_};
  const std::size_t begin = at_;
  if (peek() == '-') advance();
  const bool begins_with_zero = peek() == '0';
  if (begins_with_zero) advance();
  if (begins_with_zero && is_digit(peek())) {
    return fail("Invalid number, unexpected digit after 0: " + described_character() + ".");
  }
  if (!begins_with_zero && !skip_digits()) return no_digit();
  if (peek() == '.') {
    token.kind = TokenKind::Float;
    advance();
    if (!skip_digits()) return no_digit();
  }
  if (peek() == 'e' || peek() == 'E') {
    token.kind = TokenKind::Float;
    advance();
    if (peek() == '+' || peek() == '-') advance();
    if (!skip_digits()) return no_digit();
  }
  if (peek() == '.' || is_name_start(peek())) return no_digit();
  token.text = text_.substr(begin, at_ - begin);
  return token;
}

// --- strings ---------------------------------------------------------------------------------------------------------

Lexer::Result Lexer::read_string() {
  Token token{TokenKind::String, {}, here_};
  advance();
  while (at_ < text_.size() && peek() != '"' && peek() != '\n' && peek() != '\r') {
    if (peek() != '\\') {
      token.text += character();
      advance();
      continue;
    }
    const Lexer before = *this;
    advance();
    const bool is_unicode = peek() == 'u';
    if (!read_escape(token.text)) {
      const std::string_view written = before.rest().substr(0, is_unicode ? 6 : 2);
      return before.fail(std::string("Invalid ") + (is_unicode ? "Unicode" : "character") + " escape sequence: \"" +
                         std::string(written) + "\".");
    }
  }
  if (peek() != '"') return fail("Unterminated string.");
  advance();
  return token;
}

bool Lexer::read_escape(std::string& out) {
  static constexpr std::string_view kEscapes = "\"\\/bfnrt";
  static constexpr std::string_view kMeant = "\"\\/\b\f\n\r\t";
  if (at_ >= text_.size()) return false;
  if (peek() == 'u') return read_unicode_escape(out);
  const std::size_t which = kEscapes.find(peek());
  if (which == std::string_view::npos) return false;
  out += kMeant[which];
  advance();
  return true;
}

bool Lexer::read_unicode_escape(std::string& out) {
  char32_t code = 0;
  const bool is_braced = peek(1) == '{';
  if (!read_code(code)) return false;
  if (is_leading_surrogate(code) && !is_braced && has("\\u") && peek(2) != '{') {
    char32_t trailing = 0;
    advance();
    if (!read_code(trailing) || !is_trailing_surrogate(trailing)) return false;
    code = 0x10000 + ((code - 0xD800) << 10) + (trailing - 0xDC00);
  }
  if (code > kLastCode || is_leading_surrogate(code) || is_trailing_surrogate(code)) return false;
  append_code(out, code);
  return true;
}

bool Lexer::read_code(char32_t& code) {
  constexpr std::size_t kDigits = 4;
  constexpr std::size_t kBracedMax = 8;
  advance();
  const bool is_braced = peek() == '{';
  if (is_braced) advance();
  std::size_t digits = 0;
  for (; digits < (is_braced ? kBracedMax : kDigits) && hexadecimal(peek()) >= 0; ++digits) {
    code = code << 4 | static_cast<char32_t>(hexadecimal(peek()));
    advance();
  }
  if (!is_braced) return digits == kDigits;
  if (digits == 0 || peek() != '}') return false;
  advance();
  return true;
}

Lexer::Result Lexer::read_block_string() {
  Token token{TokenKind::BlockString, {}, here_};
  advance(kBlockQuote.size());
  std::string raw;
  while (at_ < text_.size() && !has(kBlockQuote)) {
    const bool is_escaped = has(kEscapedBlockQuote);
    const std::size_t begin = at_;
    advance(is_escaped ? kEscapedBlockQuote.size() : 1);
    raw += is_escaped ? kBlockQuote : text_.substr(begin, at_ - begin);
  }
  if (!has(kBlockQuote)) return fail("Unterminated string.");
  advance(kBlockQuote.size());
  token.text = block_string_value(raw);
  return token;
}

std::string block_string_value(std::string_view raw) {
  std::vector<std::string_view> lines = lines_of(raw);
  std::size_t common = std::string_view::npos;
  for (std::size_t i = 1; i < lines.size(); ++i) {
    if (indentation(lines[i]) < lines[i].size()) common = std::min(common, indentation(lines[i]));
  }
  for (std::size_t i = 1; i < lines.size() && common != std::string_view::npos; ++i) {
    lines[i].remove_prefix(std::min(common, lines[i].size()));
  }
  const auto is_blank = [](std::string_view line) { return indentation(line) == line.size(); };
  lines.erase(lines.begin(), std::ranges::find_if_not(lines, is_blank));
  while (!lines.empty() && is_blank(lines.back())) lines.pop_back();
  std::string value;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) value += '\n';
    value += lines[i];
  }
  return value;
}

}  // namespace postern::graphql
