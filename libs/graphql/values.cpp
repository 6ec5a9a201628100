#include "graphql/values.hpp"

#include <algorithm>

#include "graphql/scalars.hpp"
#include "graphql/text.hpp"

namespace postern::graphql {
namespace {

const json::Value* find_member(const json::Object* object, std::string_view name) {
  return object == nullptr ? nullptr : Arguments(*object).find(name);
}

bool is_missing_variable(const Literal& literal, const json::Object* variables) {
  return literal.is(Literal::Kind::Variable) && find_member(variables, literal.text) == nullptr;
}

template <typename Given>
const Given* find_given(const std::vector<Given>& all, std::string_view name) {
  const auto found = std::ranges::find(all, name, [](const Given& one) { return std::string_view(one.name); });
  return found == all.end() ? nullptr : &*found;
}

std::optional<json::Value> coerce_list(const Literal& literal, TypeView items, const json::Object* variables) {
  json::Array values;
  if (!literal.is(Literal::Kind::List)) {
    auto only = coerce_literal(literal, items, variables);
    if (!only) return std::nullopt;
    values.push_back(std::move(*only));
    return values;
  }
  for (const Literal& item : literal.items) {
    const bool is_missing = is_missing_variable(item, variables);
    if (is_missing && items.is_non_null()) return std::nullopt;
    auto value = is_missing ? json::Value() : coerce_literal(item, items, variables);
    if (!value) return std::nullopt;
    values.push_back(std::move(*value));
  }
  return values;
}

std::optional<json::Value> coerce_object(const Literal& literal, const Type& type, const json::Object* variables) {
  if (!literal.is(Literal::Kind::Object)) return std::nullopt;
  json::Object members;
  for (const InputValue& definition : type.input_fields) {
    const ObjectField* given = find_given(literal.fields, definition.name);
    if (given == nullptr || is_missing_variable(given->value, variables)) {
      if (definition.default_value) {
        members.emplace_back(definition.name, *definition.default_value);
      } else if (definition.type.view().is_non_null()) {
        return std::nullopt;
      }
      continue;
    }
    auto value = coerce_literal(given->value, definition.type.view(), variables);
    if (!value) return std::nullopt;
    members.emplace_back(definition.name, std::move(*value));
  }
  return members;
}

/// What one operation's variables are told at most; behind it nothing is looked at any more.
constexpr std::size_t kVariableErrorsMax = 50;

/// One walk through a JSON value; the path is that of the part it is at.
class InputCoercion {
 public:
  explicit InputCoercion(const InputProblem& problem) : problem_(problem) {}

  json::Value coerce(const json::Value& value, TypeView type) {
    if (is_over()) return {};
    if (type.is_non_null()) {
      if (!value.is_null()) return coerce(value, type.inner());
      return fail(value, "Expected non-nullable type \"" + type.to_string() + "\" not to be null.");
    }
    if (value.is_null()) return {};
    if (type.is_list()) return list(value, type.inner());
    if (type.named->kind == TypeKind::InputObject) return object(value, *type.named);
    auto leaf = parse_leaf(*type.named, value);
    if (leaf) return std::move(*leaf);
    const std::string prefix = leaf.error().is_sentence ? "" : "Expected type \"" + type.named->name + "\". ";
    return fail(value, prefix + leaf.error().message);
  }

 private:
  [[nodiscard]] bool is_over() const { return problems_ >= kVariableErrorsMax; }

  json::Value fail(const json::Value& value, const std::string& message) {
    ++problems_;
    problem_(path_, value, message);
    return {};
  }

  json::Value list(const json::Value& value, TypeView items) {
    const json::Array* given = value.as_array();
    if (given == nullptr) return json::Array{coerce(value, items)};
    json::Array values;
    for (std::size_t i = 0; i < given->size(); ++i) {
      path_.emplace_back(i);
      values.push_back(coerce((*given)[i], items));
      path_.pop_back();
    }
    return values;
  }

  json::Value object(const json::Value& value, const Type& type) {
    const json::Object* given = value.as_object();
    if (given == nullptr) return fail(value, "Expected type \"" + type.name + "\" to be an object.");
    json::Object members;
    for (const InputValue& field : type.input_fields) {
      if (const json::Value* member = find_member(given, field.name)) {
        path_.emplace_back(field.name);
        members.emplace_back(field.name, coerce(*member, field.type.view()));
        path_.pop_back();
      } else if (field.default_value) {
        members.emplace_back(field.name, *field.default_value);
      } else if (field.type.view().is_non_null()) {
        fail(value, "Field \"" + field.name + "\" of required type \"" + field.type.view().to_string() +
                        "\" was not provided.");
      }
    }
    check_known(value, *given, type);
    return members;
  }

  void check_known(const json::Value& value, const json::Object& given, const Type& type) {
    for (const auto& [name, member] : given) {
      if (type.input_field(name) != nullptr) continue;
      if (is_over()) return;
      std::vector<std::string> names;
      for (const InputValue& field : type.input_fields) names.push_back(field.name);
      fail(value, "Field \"" + name + "\" is not defined by type \"" + type.name + "\"." +
                      did_you_mean(suggestions(name, names)));
    }
  }

  const InputProblem& problem_;
  std::size_t problems_ = 0;
  std::vector<PathSegment> path_;
};

std::string path_text(const std::vector<PathSegment>& path) {
  std::string text;
  for (const PathSegment& segment : path) {
    const auto* name = std::get_if<std::string>(&segment);
    text += name != nullptr ? "." + *name : "[" + std::to_string(std::get<std::size_t>(segment)) + "]";
  }
  return text;
}

/// The value of one variable; nothing when it was not given and has no default.
std::optional<json::Value> coerce_variable(const VariableDefinition& definition, TypeView type,
                                           const json::Value* value, std::vector<Error>& errors) {
  const auto fail = [&](std::string message) {
    if (errors.size() < kVariableErrorsMax) errors.push_back({std::move(message), {definition.at}});
    return std::nullopt;
  };
  const std::string name = "\"$" + definition.name + "\"";
  if (type.named == nullptr || !type.named->is_input()) {
    return fail("Variable " + name + " expected value of type \"" + print(definition.type) +
                "\" which cannot be used as an input type.");
  }
  if (value == nullptr) {
    if (definition.default_value) return coerce_literal(*definition.default_value, type, nullptr);
    if (!type.is_non_null()) return std::nullopt;
    return fail("Variable " + name + " of required type \"" + type.to_string() + "\" was not provided.");
  }
  if (value->is_null() && type.is_non_null()) {
    return fail("Variable " + name + " of non-null type \"" + type.to_string() + "\" must not be null.");
  }
  return coerce_input(*value, type, [&](const auto& path, const json::Value& part, const std::string& message) {
    const std::string where = path.empty() ? "" : " at \"" + definition.name + path_text(path) + "\"";
    fail("Variable " + name + " got invalid value " + inspect(part) + where + "; " + message);
  });
}

std::string typed_argument(const InputValue& definition, std::string_view kind) {
  return "Argument \"" + definition.name + "\" of " + std::string(kind) + " type \"" +
         definition.type.view().to_string() + "\" ";
}

/// A required argument that is not there, or is a variable that is not.
std::unexpected<Error> fail_absent(const InputValue& definition, const Argument* argument, Location at) {
  if (argument == nullptr) {
    return std::unexpected(Error{typed_argument(definition, "required") + "was not provided.", {at}});
  }
  return std::unexpected(Error{typed_argument(definition, "required") + "was provided the variable \"$" +
                                   argument->value.text + "\" which was not provided a runtime value.",
                               {argument->value.at}});
}

std::unexpected<Error> fail_argument(const InputValue& definition, const Literal& literal,
                                     const json::Object& variables) {
  const json::Value* variable = literal.is(Literal::Kind::Variable) ? find_member(&variables, literal.text) : nullptr;
  const bool is_null = literal.is(Literal::Kind::Null) || (variable != nullptr && variable->is_null());
  if (is_null && definition.type.view().is_non_null()) {
    return std::unexpected(Error{typed_argument(definition, "non-null") + "must not be null.", {literal.at}});
  }
  return std::unexpected(
      Error{"Argument \"" + definition.name + "\" has invalid value " + print(literal) + ".", {literal.at}});
}

}  // namespace

std::optional<json::Value> coerce_literal(const Literal& literal, TypeView type, const json::Object* variables) {
  if (literal.is(Literal::Kind::Variable)) {
    const json::Value* value = find_member(variables, literal.text);
    if (value == nullptr || (value->is_null() && type.is_non_null())) return std::nullopt;
    return *value;
  }
  if (literal.is(Literal::Kind::Null)) {
    if (type.is_non_null()) return std::nullopt;
    return json::Value();
  }
  if (type.is_non_null()) return coerce_literal(literal, type.inner(), variables);
  if (type.is_list()) return coerce_list(literal, type.inner(), variables);
  if (type.named->kind == TypeKind::InputObject) return coerce_object(literal, *type.named, variables);
  auto leaf = parse_leaf(*type.named, literal, variables);
  if (!leaf) return std::nullopt;
  return std::move(*leaf);
}

json::Value coerce_input(const json::Value& value, TypeView type, const InputProblem& problem) {
  return InputCoercion(problem).coerce(value, type);
}

std::expected<json::Object, std::vector<Error>> coerce_variables(const Schema& schema, const Operation& operation,
                                                                 const json::Object& given) {
  json::Object values;
  std::vector<Error> errors;
  for (const VariableDefinition& definition : operation.variables) {
    const json::Value* value = find_member(&given, definition.name);
    auto coerced = coerce_variable(definition, schema.view(definition.type), value, errors);
    if (coerced) values.emplace_back(definition.name, std::move(*coerced));
    if (errors.size() < kVariableErrorsMax) continue;
    errors.push_back({"Too many errors processing variables, error limit reached. Execution aborted."});
    break;
  }
  if (!errors.empty()) return std::unexpected(std::move(errors));
  return values;
}

std::expected<json::Object, Error> coerce_arguments(const std::vector<InputValue>& definitions,
                                                    const std::vector<Argument>& given, Location at,
                                                    const json::Object& variables) {
  json::Object values;
  for (const InputValue& definition : definitions) {
    const Argument* argument = find_given(given, definition.name);
    const bool is_absent = argument == nullptr || is_missing_variable(argument->value, &variables);
    if (is_absent && definition.default_value) {
      values.emplace_back(definition.name, *definition.default_value);
    } else if (is_absent && definition.type.view().is_non_null()) {
      return fail_absent(definition, argument, at);
    } else if (!is_absent) {
      auto value = coerce_literal(argument->value, definition.type.view(), &variables);
      if (!value) return fail_argument(definition, argument->value, variables);
      values.emplace_back(definition.name, std::move(*value));
    }
  }
  return values;
}

}  // namespace postern::graphql
