// The insides of build_schema(): schema_builder.cpp gathers definitions and joins them, schema_check.cpp and
// schema_check_interfaces.cpp judge the result (October 2021, the "Type Validation" parts of §3), schema_directives.cpp
// reads and judges directives.
#pragma once

#include <set>

#include "graphql/schema.hpp"

namespace postern::graphql {

class SchemaBuilder {
 public:
  [[nodiscard]] std::expected<Schema, std::vector<Error>> build(std::string_view sdl, const Resolvers& resolvers);

 private:
  enum class Origin : std::uint8_t { Text, BuiltIn };

  void report(std::string message, Location at = {});

  // --- gathering
  void gather(Document document, Origin origin);
  void gather_type(TypeDefinition definition, Origin origin);
  void gather_schema(SchemaDefinition definition);
  void gather_directive(DirectiveDefinition definition, Origin origin);
  void extend(TypeDefinition extension);

  // --- joining
  void declare_types();
  void define_directive(const DirectiveDefinition& definition);
  void define_type(Type& type, const TypeDefinition& definition);
  [[nodiscard]] const Type* known_type(std::string_view name, Location at);
  [[nodiscard]] TypeRef reference(const TypeReference& reference);
  [[nodiscard]] InputValue input_value(const InputValueDefinition& definition);
  [[nodiscard]] std::vector<InputValue> input_values(const std::vector<InputValueDefinition>& definitions);
  [[nodiscard]] OutputField output_field(const FieldDefinition& definition);
  void choose_roots();
  void add_meta_fields();
  void find_possible_types();
  void drop_unused_scalars();
  void attach(const Resolvers& resolvers);

  // --- defaults
  void settle_defaults();
  void settle_defaults(Type& type);
  void settle(InputValue& value, const std::string& coordinate);

  // --- directives
  [[nodiscard]] std::optional<std::string> deprecation(const std::vector<Directive>& directives) const;
  [[nodiscard]] std::optional<std::string> specified_by(const std::vector<Directive>& directives) const;
  void check_directives();
  void check_directives(const TypeDefinition& definition);
  void check_directives(const std::vector<Directive>& directives, std::string_view location);
  void check_arguments(const Directive& directive, const DirectiveType& type);

  // --- checks
  void check();
  void check_roots();
  void check_name(const std::string& name, Location at);
  void check_type(const Type& type);
  void check_fields(const Type& type);
  void check_inputs(const std::vector<InputValue>& values, const std::string& prefix, const std::string& suffix);
  void check_members(const Type& type);
  void check_cycles();
  void check_cycles(const Type& type, std::vector<const InputValue*>& way, std::set<const Type*>& done);
  void check_interfaces(const Type& type);
  void check_implements(const Type& type, const Type& interface);
  void check_field(const Type& type, const OutputField& field, const Type& interface, const OutputField& expected);

  struct Gathered {
    TypeDefinition definition;
    Origin origin = Origin::Text;
  };

  Schema schema_;
  std::vector<Error> errors_;
  std::vector<Gathered> types_;
  std::map<std::string, std::size_t, std::less<>> places_;  ///< in types_
  std::vector<TypeDefinition> extensions_;
  std::vector<SchemaDefinition> schema_extensions_;
  std::vector<std::pair<DirectiveDefinition, Origin>> directives_;
  std::optional<SchemaDefinition> definition_;
  enum class Settling : std::uint8_t { Running, Done };
  std::map<const Type*, Settling> settled_;
};

}  // namespace postern::graphql
