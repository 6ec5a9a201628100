// A parsed GraphQL document (October 2021, §2 and §3), as it is written: nothing is looked up or checked here.
//
// Every `at` is the first token of its node; `name_at` that of the node's name, where both are told apart in errors.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "graphql/error.hpp"

namespace postern::graphql {

struct Name {
  std::string text{};
  Location at{};
};

// --- values and types ------------------------------------------------------------------------------------------------

struct ObjectField;

/// A literal, or a variable that stands for one.
struct Literal {
  enum class Kind : std::uint8_t { Variable, Int, Float, String, Boolean, Null, Enum, List, Object };
  Kind kind = Kind::Null;
  Location at;
  /// Name of a variable or enum value, digits of a number, meaning of a string, "true" or "false".
  std::string text;
  bool is_block = false;  ///< a string that is written between """
  std::vector<Literal> items;
  std::vector<ObjectField> fields;

  [[nodiscard]] bool is(Kind other) const { return kind == other; }
};

struct ObjectField {
  std::string name;
  Location at;
  Literal value;
};

struct Argument {
  std::string name;
  Location at;
  Literal value;
};

struct Directive {
  std::string name;
  Location at;
  std::vector<Argument> arguments;
};

enum class Wrapper : std::uint8_t { List, NonNull };

/// `[Int!]!` is Int with NonNull, List, NonNull: the outermost first.
struct TypeReference {
  std::string name;
  std::vector<Wrapper> wrappers;
  Location at;
  Location name_at;

  [[nodiscard]] bool is_non_null() const { return !wrappers.empty() && wrappers.front() == Wrapper::NonNull; }
};

// --- what can be executed --------------------------------------------------------------------------------------------

struct Selection;

struct Field {
  std::string alias;  ///< empty without one
  std::string name;
  Location at;
  std::vector<Argument> arguments;
  std::vector<Directive> directives;
  std::vector<Selection> selections;  ///< empty: it has no selection set
  Location selections_at;

  [[nodiscard]] const std::string& response_name() const { return alias.empty() ? name : alias; }
};

struct FragmentSpread {
  std::string name;
  Location at;
  Location name_at;
  std::vector<Directive> directives;
};

struct InlineFragment {
  std::optional<Name> type_condition;
  Location at;
  std::vector<Directive> directives;
  std::vector<Selection> selections;
};

struct Selection {
  std::variant<Field, FragmentSpread, InlineFragment> node;
};

struct VariableDefinition {
  std::string name;
  Location at;
  Location name_at;
  TypeReference type;
  std::optional<Literal> default_value;
  std::vector<Directive> directives;
};

enum class OperationKind : std::uint8_t { Query, Mutation, Subscription };
[[nodiscard]] std::string_view to_string(OperationKind kind);

struct Operation {
  OperationKind kind = OperationKind::Query;
  std::string name;  ///< empty for an anonymous one
  Location at;
  Location name_at;
  std::vector<VariableDefinition> variables;
  std::vector<Directive> directives;
  std::vector<Selection> selections;
};

struct Fragment {
  std::string name;
  Location at;
  Location name_at;
  Name type_condition;
  std::vector<Directive> directives;
  std::vector<Selection> selections;
};

// --- type systems ----------------------------------------------------------------------------------------------------

/// An argument of a field or directive, or a field of an input object.
struct InputValueDefinition {
  std::string description;
  std::string name;
  Location at;
  TypeReference type;
  std::optional<Literal> default_value;
  std::vector<Directive> directives;
};

struct FieldDefinition {
  std::string description;
  std::string name;
  Location at;
  std::vector<InputValueDefinition> arguments;
  TypeReference type;
  std::vector<Directive> directives;
};

struct EnumValueDefinition {
  std::string description;
  std::string name;
  Location at;
  std::vector<Directive> directives;
};

enum class TypeKind : std::uint8_t { Scalar, Object, Interface, Union, Enum, InputObject };
/// "INPUT_OBJECT": as introspection and the locations of directives call it.
[[nodiscard]] std::string_view to_string(TypeKind kind);

/// One struct for all kinds: what a kind does not have is empty.
struct TypeDefinition {
  TypeKind kind = TypeKind::Scalar;
  bool is_extension = false;
  std::string description;
  std::string name;
  Location at;
  std::vector<Name> interfaces;
  std::vector<Directive> directives;
  std::vector<FieldDefinition> fields;
  std::vector<InputValueDefinition> input_fields;
  std::vector<EnumValueDefinition> values;
  std::vector<Name> members;
};

struct DirectiveDefinition {
  std::string description;
  std::string name;
  Location at;
  std::vector<InputValueDefinition> arguments;
  bool is_repeatable = false;
  std::vector<std::string> locations;
};

struct RootDefinition {
  OperationKind kind = OperationKind::Query;
  Name type;
};

struct SchemaDefinition {
  bool is_extension = false;
  std::string description;
  Location at;
  std::vector<Directive> directives;
  std::vector<RootDefinition> roots;
};

using Definition = std::variant<Operation, Fragment, TypeDefinition, DirectiveDefinition, SchemaDefinition>;

struct Document {
  std::vector<Definition> definitions;
};

}  // namespace postern::graphql
