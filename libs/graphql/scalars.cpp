#include "graphql/scalars.hpp"

#include <charconv>
#include <cmath>
#include <limits>

#include "graphql/text.hpp"

namespace postern::graphql {
namespace {

enum class Kind : std::uint8_t { Int, Float, String, Boolean, Id, Custom };

/// A value on its way through a leaf, and how messages write it.
struct Given {
  const json::Value& value;
  std::string text;
};

Kind kind_of(const Type& type) {
  if (!type.is_built_in) return Kind::Custom;
  if (type.name == "Int") return Kind::Int;
  if (type.name == "Float") return Kind::Float;
  if (type.name == "String") return Kind::String;
  if (type.name == "Boolean") return Kind::Boolean;
  return Kind::Id;
}

std::unexpected<LeafError> fail(std::string message) {
  return std::unexpected(LeafError{std::move(message)});
}

std::unexpected<LeafError> fail(const Type& type, std::string_view what, const Given& given) {
  return fail(type.name + " cannot represent " + std::string(what) + ": " + given.text);
}

/// 4.0 is an integer in JSON.
std::optional<double> whole_number(const json::Value& value) {
  const auto number = value.as_number();
  return number && std::trunc(*number) == *number ? number : std::nullopt;
}

LeafResult take_int(const Type& type, const Given& given) {
  const auto number = whole_number(given.value);
  if (!number) return fail(type, "non-integer value", given);
  using Range = std::numeric_limits<std::int32_t>;
  if (*number < Range::min() || *number > Range::max()) {
    return fail(type, "non 32-bit signed integer value", given);
  }
  return static_cast<std::int64_t>(*number);
}

LeafResult take_float(const Type& type, const Given& given) {
  const auto number = given.value.as_number();
  if (!number || !std::isfinite(*number)) return fail(type, "non numeric value", given);
  if (given.value.as_integer()) return given.value;
  return *number;
}

LeafResult take_id(const Type& type, const Given& given, std::string_view what) {
  if (given.value.as_string() != nullptr) return given.value;
  if (const auto number = given.value.as_integer()) return std::to_string(*number);
  if (const auto number = given.value.as_unsigned()) return std::to_string(*number);
  return fail(type, what, given);
}

LeafResult take_built_in(const Type& type, const Given& given, std::string_view no_id) {
  switch (kind_of(type)) {
    case Kind::Int:
      return take_int(type, given);
    case Kind::Float:
      return take_float(type, given);
    case Kind::String:
      if (given.value.as_string() == nullptr) return fail(type, "a non string value", given);
      return given.value;
    case Kind::Boolean:
      if (!given.value.as_bool()) return fail(type, "a non boolean value", given);
      return given.value;
    default:
      return take_id(type, given, no_id);
  }
}

LeafResult take_custom(const ScalarCodec::Conversion& conversion, const json::Value& value) {
  if (!conversion) return value;
  auto converted = conversion(value);
  if (converted) return std::move(*converted);
  return std::unexpected(LeafError{std::move(converted.error()), false});
}

std::string near_values(const Type& type, std::string_view text) {
  std::vector<std::string> names;
  for (const EnumValue& value : type.values) names.push_back(value.name);
  return did_you_mean(suggestions(text, names), "the enum value");
}

LeafResult take_enum(const Type& type, const std::string& name) {
  if (type.has_value(name)) return json::Value(name);
  return fail("Value \"" + name + "\" does not exist in \"" + type.name + "\" enum." + near_values(type, name));
}

json::Value number_from(const std::string& digits) {
  std::int64_t integer = 0;
  const char* end = digits.data() + digits.size();
  if (const auto read = std::from_chars(digits.data(), end, integer); read.ec == std::errc{} && read.ptr == end) {
    return integer;
  }
  double number = 0;
  const auto read = std::from_chars(digits.data(), end, number);
  return read.ec == std::errc{} ? number : std::numeric_limits<double>::infinity();
}

const json::Value* find_member(const json::Object* object, std::string_view name) {
  if (object == nullptr) return nullptr;
  return Arguments(*object).find(name);
}

/// Without a type: a name is a string, a variable that nobody gave is null.
json::Value to_json(const Literal& literal, const json::Object* variables) {
  switch (literal.kind) {
    case Literal::Kind::Variable: {
      const json::Value* value = find_member(variables, literal.text);
      return value == nullptr ? json::Value() : *value;
    }
    case Literal::Kind::Int:
    case Literal::Kind::Float:
      return number_from(literal.text);
    case Literal::Kind::Boolean:
      return literal.text == "true";
    case Literal::Kind::Null:
      return {};
    case Literal::Kind::String:
    case Literal::Kind::Enum:
      return literal.text;
    case Literal::Kind::List: {
      json::Array items;
      for (const Literal& item : literal.items) items.push_back(to_json(item, variables));
      return items;
    }
    case Literal::Kind::Object: {
      json::Object members;
      for (const ObjectField& field : literal.fields) members.emplace_back(field.name, to_json(field.value, variables));
      return members;
    }
  }
  return {};
}

/// A string is no number and a name is no string, whatever they say.
bool may_be_written_as(Kind scalar, Literal::Kind literal) {
  switch (scalar) {
    case Kind::Int:
      return literal == Literal::Kind::Int;
    case Kind::Float:
      return literal == Literal::Kind::Int || literal == Literal::Kind::Float;
    case Kind::String:
      return literal == Literal::Kind::String;
    case Kind::Boolean:
      return literal == Literal::Kind::Boolean;
    case Kind::Id:
      return literal == Literal::Kind::Int || literal == Literal::Kind::String;
    case Kind::Custom:
      return true;
  }
  return false;
}

}  // namespace

LeafResult parse_leaf(const Type& type, const Literal& literal, const json::Object* variables) {
  if (type.kind == TypeKind::Enum) {
    if (literal.is(Literal::Kind::Enum)) return take_enum(type, literal.text);
    const std::string text = print(literal);
    return fail("Enum \"" + type.name + "\" cannot represent non-enum value: " + text + "." + near_values(type, text));
  }
  if (kind_of(type) == Kind::Custom) return take_custom(type.codec.parse, to_json(literal, variables));
  constexpr std::string_view kNoId = "a non-string and non-integer value";
  // An ID keeps the digits that it was written with, however many.
  const bool is_id_number = kind_of(type) == Kind::Id && literal.is(Literal::Kind::Int);
  if (is_id_number) return json::Value(literal.text);
  const bool is_written_right = may_be_written_as(kind_of(type), literal.kind);
  const json::Value value = is_written_right ? to_json(literal, variables) : json::Value();
  return take_built_in(type, {value, print(literal)}, kNoId);
}

LeafResult parse_leaf(const Type& type, const json::Value& value) {
  if (type.kind == TypeKind::Enum) {
    if (const std::string* name = value.as_string()) return take_enum(type, *name);
    const std::string text = inspect(value);
    return fail("Enum \"" + type.name + "\" cannot represent non-string value: " + text + "." +
                near_values(type, text));
  }
  if (kind_of(type) == Kind::Custom) return take_custom(type.codec.parse, value);
  return take_built_in(type, {value, inspect(value)}, "value");
}

LeafResult serialize_leaf(const Type& type, const json::Value& value) {
  if (type.kind == TypeKind::Enum) {
    const std::string* name = value.as_string();
    if (name != nullptr && type.has_value(*name)) return value;
    return fail("Enum \"" + type.name + "\" cannot represent value: " + inspect(value));
  }
  if (kind_of(type) == Kind::Custom) return take_custom(type.codec.serialize, value);
  return take_built_in(type, {value, inspect(value)}, "value");
}

}  // namespace postern::graphql
