// The parser's insides: parser.cpp has tokens, values and types, parser_operations.cpp what can be executed,
// parser_types.cpp type systems.
//
// A failure is kept, and from then on every token is the end of the document, so that everything that was begun ends.
#pragma once

#include <functional>
#include <optional>

#include "graphql/lexer.hpp"
#include "graphql/parser.hpp"

namespace postern::graphql {

class Parser {
 public:
  /// `text` outlives the parser.
  Parser(std::string_view text, const ParseLimits& limits);

  [[nodiscard]] std::expected<Document, Error> parse();

 private:
  // --- tokens
  void next();
  void fail(std::string what);
  void fail_unexpected() { fail("Unexpected " + token_.described() + "."); }
  void count(std::size_t& counter, std::size_t maximum, std::string_view what);
  [[nodiscard]] bool is(std::string_view punctuator) const { return token_.is(punctuator); }
  [[nodiscard]] bool is(TokenKind kind) const { return token_.kind == kind; }
  [[nodiscard]] bool is_keyword(std::string_view word) const { return token_.is_keyword(word); }
  /// Passes over it if it is there.
  [[nodiscard]] bool take(std::string_view punctuator);
  [[nodiscard]] bool take_keyword(std::string_view word);
  void expect(std::string_view punctuator);
  void expect_keyword(std::string_view word);
  [[nodiscard]] std::string name();
  [[nodiscard]] Name located_name();
  using Item = std::function<void()>;
  /// One or more between two punctuators.
  void many(std::string_view open, std::string_view close, const Item& item);
  /// The same, or nothing at all.
  void optional_many(std::string_view open, std::string_view close, const Item& item);
  /// One or more with `separator` between them, which may stand before the first as well.
  void separated(std::string_view separator, const Item& item);

  /// Counts how deep things are inside each other while it lives.
  class Level {
   public:
    explicit Level(Parser& parser);
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    ~Level() { --parser_.depth_; }

   private:
    Parser& parser_;
  };

  // --- what both have in common
  enum class Constancy : std::uint8_t { Variables, Constant };
  [[nodiscard]] Literal value(Constancy constancy);
  [[nodiscard]] Literal variable(Constancy constancy);
  [[nodiscard]] Literal list(Constancy constancy);
  [[nodiscard]] Literal object(Constancy constancy);
  [[nodiscard]] Literal word();
  [[nodiscard]] std::vector<Argument> arguments(Constancy constancy);
  [[nodiscard]] std::vector<Directive> directives(Constancy constancy);
  [[nodiscard]] TypeReference type();
  void add_type(TypeReference& type);

  void definition();

  // --- operations
  [[nodiscard]] Operation operation();
  [[nodiscard]] VariableDefinition variable_definition();
  [[nodiscard]] Fragment fragment();
  [[nodiscard]] std::vector<Selection> selections();
  [[nodiscard]] Selection selection();
  [[nodiscard]] Selection fragment_selection(Location at);
  [[nodiscard]] Field field();

  // --- type systems
  [[nodiscard]] std::string description();
  /// False when the keyword does not begin a definition.
  [[nodiscard]] bool type_system_definition(std::string description, Location at, bool is_extension);
  [[nodiscard]] SchemaDefinition schema_definition();
  [[nodiscard]] TypeDefinition type_definition(TypeKind kind);
  void type_body(TypeDefinition& type);
  [[nodiscard]] std::vector<InputValueDefinition> input_values(std::string_view open, std::string_view close);
  [[nodiscard]] InputValueDefinition input_value();
  [[nodiscard]] FieldDefinition field_definition();
  [[nodiscard]] EnumValueDefinition enum_value();
  [[nodiscard]] DirectiveDefinition directive_definition();
  [[nodiscard]] std::string directive_location();

  Lexer lexer_;
  ParseLimits limits_;
  Token token_;
  std::size_t tokens_ = 0;
  std::size_t depth_ = 0;
  std::size_t fields_ = 0;
  std::size_t aliases_ = 0;
  std::optional<Error> error_;
  Document document_;
};

}  // namespace postern::graphql
