#include "graphql/lexer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace postern::graphql {
namespace {

Token first(std::string_view text) {
  auto token = Lexer(text).next();
  EXPECT_TRUE(token) << text << ": " << (token ? "" : token.error().message);
  return token ? *token : Token{};
}

std::string error_of(std::string_view text) {
  const auto token = Lexer(text).next();
  EXPECT_FALSE(token) << text;
  return token ? "" : token.error().message;
}

TEST(Lexer, SkipsBlanksCommasCommentsAndByteOrderMarks) {
  const Token token = first("\xEF\xBB\xBF \t, # a comment with \xC3\xA4\r\n  name ");
  EXPECT_EQ(token.kind, TokenKind::Name);
  EXPECT_EQ(token.text, "name");
  EXPECT_EQ(token.at, (Location{2, 3}));
}

TEST(Lexer, CountsLinesOfEveryKindAndColumnsInCodePoints) {
  Lexer lexer("\r\n\n\r \"\xF0\x9F\x98\x80\" x");
  EXPECT_EQ(lexer.next()->at, (Location{4, 2}));
  EXPECT_EQ(lexer.next()->at, (Location{4, 6}));
  EXPECT_EQ(lexer.next()->kind, TokenKind::End);
  EXPECT_EQ(lexer.next()->kind, TokenKind::End);
}

TEST(Lexer, ReadsNumbers) {
  for (const char* text : {"0", "-0", "4", "-4", "9007199254740993"}) {
    EXPECT_EQ(first(text).kind, TokenKind::Int) << text;
    EXPECT_EQ(first(text).text, text);
  }
  for (const char* text : {"4.123", "-0.1", "123e4", "123E-4", "1.5e+2"}) {
    EXPECT_EQ(first(text).kind, TokenKind::Float) << text;
    EXPECT_EQ(first(text).text, text);
  }
}

TEST(Lexer, RefusesNumbersThatAreNone) {
  EXPECT_EQ(error_of("00"), "Syntax Error: Invalid number, unexpected digit after 0: \"0\".");
  EXPECT_EQ(error_of("-A"), "Syntax Error: Invalid number, expected digit but got: \"A\".");
  EXPECT_EQ(error_of("1."), "Syntax Error: Invalid number, expected digit but got: <EOF>.");
  EXPECT_EQ(error_of("1.0e"), "Syntax Error: Invalid number, expected digit but got: <EOF>.");
  EXPECT_EQ(error_of("1.2.3"), "Syntax Error: Invalid number, expected digit but got: \".\".");
  EXPECT_EQ(error_of("0xF1"), "Syntax Error: Invalid number, expected digit but got: \"x\".");
  EXPECT_EQ(error_of("1_"), "Syntax Error: Invalid number, expected digit but got: \"_\".");
}

TEST(Lexer, ReadsStringsWithEscapes) {
  EXPECT_EQ(first(R"("simple")").text, "simple");
  EXPECT_EQ(first(R"("")").text, "");
  EXPECT_EQ(first(R"("quote \" \\ \/ \b\f\n\r\t")").text, "quote \" \\ / \b\f\n\r\t");
  EXPECT_EQ(first(R"("\u00e4 \u{1F600} \uD83D\uDE00")").text, "\xC3\xA4 \xF0\x9F\x98\x80 \xF0\x9F\x98\x80");
}

TEST(Lexer, RefusesStringsThatDoNotEndAndEscapesWithoutMeaning) {
  EXPECT_EQ(error_of("\"end\n\""), "Syntax Error: Unterminated string.");
  EXPECT_EQ(error_of("\"\"\"end\"\""), "Syntax Error: Unterminated string.");
  EXPECT_EQ(error_of(R"("bad \x esc")"), "Syntax Error: Invalid character escape sequence: \"\\x\".");
  EXPECT_EQ(error_of(R"("bad \u1 esc")"), "Syntax Error: Invalid Unicode escape sequence: \"\\u1 es\".");
  for (const char* text : {R"("\uD83D")", R"("\uDE00")", R"("\uD83D\u0041")", R"("\u{110000}")", R"("\u{}")",
                           R"("\u{D800}")", R"("\u{000000041}")", "\"\\"}) {
    (void)error_of(text);
  }
}

TEST(Lexer, TakesCommonIndentationFromBlockStrings) {
  EXPECT_EQ(first("\"\"\"\n\n    a\n      b\n\n    c\n  \n\"\"\"").text, "a\n  b\n\nc");
  EXPECT_EQ(first("\"\"\"  first\n    second\"\"\"").text, "  first\nsecond");
  EXPECT_EQ(first(R"("""a \""" b \n""")").text, "a \"\"\" b \\n");
  EXPECT_EQ(first("\"\"\"a\r\nb\rc\"\"\"").text, "a\nb\nc");
}

TEST(Lexer, NamesTheCharacterThatHasNoMeaning) {
  EXPECT_EQ(error_of("?"), "Syntax Error: Unexpected character: \"?\".");
  EXPECT_EQ(error_of(".."), "Syntax Error: Unexpected character: \".\".");
  EXPECT_EQ(error_of("\xC3\xA4"), "Syntax Error: Unexpected character: U+00E4.");
  EXPECT_EQ(error_of("\xF0\x9F\x98\x80"), "Syntax Error: Unexpected character: U+1F600.");
  EXPECT_EQ(error_of("'x'"),
            "Syntax Error: Unexpected single quote character ('), did you mean to use a double quote (\")?");
}

}  // namespace
}  // namespace postern::graphql
