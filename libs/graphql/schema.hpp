// A type system that holds together (GraphQL October 2021, §3): built from its text and checked as a whole by
// build_schema(). It never changes afterwards, so that any number of requests may read it.
#pragma once

#include <expected>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graphql/ast.hpp"
#include "graphql/resolvers.hpp"

namespace postern::graphql {

struct Type;

/// A named type inside lists and non-nulls, without owning them.
struct TypeView {
  const Type* named = nullptr;
  std::span<const Wrapper> wrappers{};

  [[nodiscard]] bool is_known() const { return named != nullptr; }
  [[nodiscard]] bool is_non_null() const { return !wrappers.empty() && wrappers.front() == Wrapper::NonNull; }
  [[nodiscard]] bool is_list() const { return !wrappers.empty() && wrappers.front() == Wrapper::List; }
  /// Without the outermost wrapper.
  [[nodiscard]] TypeView inner() const { return {named, wrappers.subspan(1)}; }
  [[nodiscard]] TypeView nullable() const { return is_non_null() ? inner() : *this; }
  [[nodiscard]] std::string to_string() const;
};

struct TypeRef {
  const Type* named = nullptr;
  std::vector<Wrapper> wrappers{};

  [[nodiscard]] TypeView view() const { return {named, wrappers}; }
};

/// An argument of a field or directive, or a field of an input object.
struct InputValue {
  std::string name{};
  std::string description{};
  TypeRef type{};
  std::optional<Literal> default_literal{};
  /// The default coerced to its type; set where there is a literal.
  std::optional<json::Value> default_value{};
  std::optional<std::string> deprecation{};
  Location at{};

  [[nodiscard]] bool is_required() const { return type.view().is_non_null() && !default_literal; }
};

struct OutputField {
  std::string name{};
  std::string description{};
  std::vector<InputValue> arguments{};
  TypeRef type{};
  std::optional<std::string> deprecation{};
  Location at{};
  /// Without one, a field reads the member of its name of a JSON object.
  Resolver resolve{};

  [[nodiscard]] const InputValue* argument(std::string_view argument_name) const;
};

struct EnumValue {
  std::string name{};
  std::string description{};
  std::optional<std::string> deprecation{};
};

/// One struct for all kinds: what a kind does not have is empty.
struct Type {
  TypeKind kind = TypeKind::Scalar;
  std::string name{};
  std::string description{};
  Location at{};
  bool is_built_in = false;  ///< of the specification, not of the text
  std::vector<const Type*> interfaces{};
  std::vector<OutputField> fields{};
  std::vector<InputValue> input_fields{};
  std::vector<EnumValue> values{};
  std::vector<const Type*> members{};
  std::optional<std::string> specified_by{};
  ScalarCodec codec{};
  /// Objects that a value of this type may be: those of a union or interface, or the object itself.
  std::vector<const Type*> possible{};

  [[nodiscard]] bool is_leaf() const { return kind == TypeKind::Scalar || kind == TypeKind::Enum; }
  [[nodiscard]] bool is_abstract() const { return kind == TypeKind::Interface || kind == TypeKind::Union; }
  [[nodiscard]] bool is_composite() const { return kind == TypeKind::Object || is_abstract(); }
  [[nodiscard]] bool is_input() const { return is_leaf() || kind == TypeKind::InputObject; }
  [[nodiscard]] bool is_output() const { return kind != TypeKind::InputObject; }
  [[nodiscard]] bool implements(const Type& other) const;
  [[nodiscard]] bool may_be(const Type& object) const;
  [[nodiscard]] const OutputField* field(std::string_view field_name) const;
  [[nodiscard]] const InputValue* input_field(std::string_view field_name) const;
  [[nodiscard]] bool has_value(std::string_view value_name) const;
};

struct DirectiveType {
  std::string name{};
  std::string description{};
  std::vector<InputValue> arguments{};
  bool is_repeatable = false;
  bool is_built_in = false;
  std::vector<std::string> locations{};
  Location at{};

  [[nodiscard]] const InputValue* argument(std::string_view argument_name) const;
  [[nodiscard]] bool may_be_at(std::string_view location) const;
};

class Schema {
 public:
  [[nodiscard]] const Type* find(std::string_view name) const;
  [[nodiscard]] const DirectiveType* find_directive(std::string_view name) const;
  /// In the order of the text, those of the specification behind them.
  [[nodiscard]] const std::vector<std::unique_ptr<Type>>& types() const { return types_; }
  [[nodiscard]] const std::vector<DirectiveType>& directives() const { return directives_; }
  [[nodiscard]] const std::string& description() const { return description_; }
  /// Null where the schema has no such operations.
  [[nodiscard]] const Type* root(OperationKind kind) const { return roots_[static_cast<std::size_t>(kind)]; }
  /// With `__typename`, and with `__schema` and `__type` at the root of queries.
  [[nodiscard]] const OutputField* field(const Type& parent, std::string_view name) const;
  /// Its `named` is null when there is no such type; the view is of `reference`'s own wrappers.
  [[nodiscard]] TypeView view(const TypeReference& reference) const {
    return {find(reference.name), reference.wrappers};
  }
  /// `T.f` for every field of objects that has no resolver: a program that wants none can hold on to that in a test.
  [[nodiscard]] std::vector<std::string> fields_without_resolver() const;

 private:
  friend class SchemaBuilder;

  std::vector<std::unique_ptr<Type>> types_;
  std::map<std::string, Type*, std::less<>> by_name_;
  std::vector<DirectiveType> directives_;
  std::string description_;
  const Type* roots_[3] = {};
  std::vector<OutputField> meta_fields_;
};

/// Equal, or usable wherever the other is expected: non-null for nullable, object for its interface or union (§3.6.1).
[[nodiscard]] bool is_sub_type(TypeView type, TypeView super);
[[nodiscard]] bool is_same(TypeView a, TypeView b);
/// Whether one object may be of both.
[[nodiscard]] bool overlaps(const Type& a, const Type& b);

/// Everything that is wrong with the text, or with resolvers for fields that it does not have.
[[nodiscard]] std::expected<Schema, std::vector<Error>> build_schema(std::string_view sdl,
                                                                     const Resolvers& resolvers = {});

}  // namespace postern::graphql
