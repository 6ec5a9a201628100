#include "graphql/parser.hpp"

#include "graphql/parser_impl.hpp"

namespace postern::graphql {
namespace {

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t size = json::utf8_sequence_size(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

}  // namespace

std::string_view to_string(TypeKind kind) {
  switch (kind) {
    case TypeKind::Scalar:
      return "SCALAR";
    case TypeKind::Object:
      return "OBJECT";
    case TypeKind::Interface:
      return "INTERFACE";
    case TypeKind::Union:
      return "UNION";
    case TypeKind::Enum:
      return "ENUM";
    case TypeKind::InputObject:
      return "INPUT_OBJECT";
  }
  return {};
}

std::string_view to_string(OperationKind kind) {
  switch (kind) {
    case OperationKind::Query:
      return "query";
    case OperationKind::Mutation:
      return "mutation";
    case OperationKind::Subscription:
      return "subscription";
  }
  return "";
}

std::expected<Document, Error> parse(std::string_view text, const ParseLimits& limits) {
  if (text.size() > limits.bytes_max) {
    const std::string bound = std::to_string(limits.bytes_max);
    return std::unexpected(Error{"Syntax Error: Document is larger than " + bound + " bytes. Parsing aborted."});
  }
  if (!is_utf8(text)) return std::unexpected(Error{"Syntax Error: Document is not UTF-8."});
  return Parser(text, limits).parse();
}

// --- tokens ----------------------------------------------------------------------------------------------------------

Parser::Parser(std::string_view text, const ParseLimits& limits) : lexer_(text), limits_(limits) {}

Parser::Level::Level(Parser& parser) : parser_(parser) {
  parser_.count(parser_.depth_, parser_.limits_.depth_max, "nested levels");
}

void Parser::next() {
  if (error_) return;
  auto token = lexer_.next();
  if (!token) {
    error_ = std::move(token.error());
    token_ = {TokenKind::End};
    return;
  }
  token_ = std::move(*token);
  if (!is(TokenKind::End)) count(tokens_, limits_.tokens_max, "tokens");
}

void Parser::fail(std::string what) {
  if (!error_) error_ = Error{"Syntax Error: " + std::move(what), {token_.at}};
  token_ = {TokenKind::End, {}, token_.at};
}

void Parser::count(std::size_t& counter, std::size_t maximum, std::string_view what) {
  if (++counter <= maximum) return;
  fail("Document contains more than " + std::to_string(maximum) + " " + std::string(what) + ". Parsing aborted.");
}

bool Parser::take(std::string_view punctuator) {
  if (!is(punctuator)) return false;
  next();
  return true;
}

bool Parser::take_keyword(std::string_view word) {
  if (!is_keyword(word)) return false;
  next();
  return true;
}

void Parser::expect(std::string_view punctuator) {
  if (!take(punctuator)) fail("Expected \"" + std::string(punctuator) + "\", found " + token_.described() + ".");
}

void Parser::expect_keyword(std::string_view word) {
  if (!take_keyword(word)) fail("Expected \"" + std::string(word) + "\", found " + token_.described() + ".");
}

std::string Parser::name() {
  if (!is(TokenKind::Name)) {
    fail("Expected Name, found " + token_.described() + ".");
    return {};
  }
  std::string text = std::move(token_.text);
  next();
  return text;
}

Name Parser::located_name() {
  const Location at = token_.at;
  return {name(), at};
}

void Parser::many(std::string_view open, std::string_view close, const Item& item) {
  expect(open);
  do {
    item();
  } while (!error_ && !take(close));
}

void Parser::optional_many(std::string_view open, std::string_view close, const Item& item) {
  if (is(open)) many(open, close, item);
}

void Parser::separated(std::string_view separator, const Item& item) {
  (void)take(separator);
  do {
    item();
  } while (take(separator));
}

// --- values and types ------------------------------------------------------------------------------------------------

Literal Parser::value(Constancy constancy) {
  if (is("$")) return variable(constancy);
  if (is("[")) return list(constancy);
  if (is("{")) return object(constancy);
  Literal literal;
  literal.at = token_.at;
  switch (token_.kind) {
    case TokenKind::Int:
      literal.kind = Literal::Kind::Int;
      break;
    case TokenKind::Float:
      literal.kind = Literal::Kind::Float;
      break;
    case TokenKind::String:
    case TokenKind::BlockString:
      literal.kind = Literal::Kind::String;
      literal.is_block = is(TokenKind::BlockString);
      break;
    case TokenKind::Name:
      return word();
    default:
      fail_unexpected();
      return literal;
  }
  literal.text = std::move(token_.text);
  next();
  return literal;
}

Literal Parser::word() {
  Literal literal;
  literal.kind = Literal::Kind::Enum;
  literal.at = token_.at;
  literal.text = name();
  if (literal.text == "true" || literal.text == "false") literal.kind = Literal::Kind::Boolean;
  if (literal.text == "null") literal.kind = Literal::Kind::Null;
  return literal;
}

Literal Parser::variable(Constancy constancy) {
  Literal literal;
  literal.kind = Literal::Kind::Variable;
  literal.at = token_.at;
  next();
  if (constancy == Constancy::Constant) {
    if (!is(TokenKind::Name)) fail_unexpected();
    token_.at = literal.at;
    fail("Unexpected variable \"$" + token_.text + "\" in constant value.");
  }
  literal.text = name();
  return literal;
}

Literal Parser::list(Constancy constancy) {
  const Level level(*this);
  Literal literal;
  literal.kind = Literal::Kind::List;
  literal.at = token_.at;
  expect("[");
  while (!error_ && !take("]")) literal.items.push_back(value(constancy));
  return literal;
}

Literal Parser::object(Constancy constancy) {
  const Level level(*this);
  Literal literal;
  literal.kind = Literal::Kind::Object;
  literal.at = token_.at;
  expect("{");
  while (!error_ && !take("}")) {
    ObjectField& field = literal.fields.emplace_back();
    field.at = token_.at;
    field.name = name();
    expect(":");
    field.value = value(constancy);
  }
  return literal;
}

std::vector<Argument> Parser::arguments(Constancy constancy) {
  std::vector<Argument> all;
  optional_many("(", ")", [&] {
    Argument& argument = all.emplace_back();
    argument.at = token_.at;
    argument.name = name();
    expect(":");
    argument.value = value(constancy);
  });
  return all;
}

std::vector<Directive> Parser::directives(Constancy constancy) {
  std::vector<Directive> all;
  while (is("@")) {
    Directive& directive = all.emplace_back();
    directive.at = token_.at;
    next();
    directive.name = name();
    directive.arguments = arguments(constancy);
  }
  return all;
}

TypeReference Parser::type() {
  TypeReference type;
  type.at = token_.at;
  add_type(type);
  return type;
}

void Parser::add_type(TypeReference& type) {
  const Level level(*this);
  const auto place = static_cast<std::ptrdiff_t>(type.wrappers.size());
  if (take("[")) {
    type.wrappers.push_back(Wrapper::List);
    add_type(type);
    expect("]");
  } else {
    type.name_at = token_.at;
    type.name = name();
  }
  if (take("!")) type.wrappers.insert(type.wrappers.begin() + place, Wrapper::NonNull);
}

// --- documents -------------------------------------------------------------------------------------------------------

std::expected<Document, Error> Parser::parse() {
  next();
  do {
    definition();
  } while (!error_ && !is(TokenKind::End));
  if (error_) return std::unexpected(std::move(*error_));
  return std::move(document_);
}

void Parser::definition() {
  if (is("{")) {
    document_.definitions.emplace_back(operation());
    return;
  }
  const Location at = token_.at;
  const bool is_described = is(TokenKind::String) || is(TokenKind::BlockString);
  std::string text = description();
  if (!is(TokenKind::Name)) return fail_unexpected();
  if (type_system_definition(std::move(text), at, false)) return;
  if (is_described) {
    token_.at = at;
    return fail("Unexpected description, descriptions are supported only on type definitions.");
  }
  if (is_keyword("query") || is_keyword("mutation") || is_keyword("subscription")) {
    document_.definitions.emplace_back(operation());
  } else if (is_keyword("fragment")) {
    document_.definitions.emplace_back(fragment());
  } else if (take_keyword("extend")) {
    if (!type_system_definition({}, at, true)) fail_unexpected();
  } else {
    fail_unexpected();
  }
}

}  // namespace postern::graphql
