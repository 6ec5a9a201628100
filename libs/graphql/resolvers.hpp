// How a schema gets its data: functions in C++, registered under "Type.field".
//
// A resolver is synchronous and sees the context of the request, the object whose field it is, and the arguments as the
// schema coerced them. Objects are C++ values behind a pointer that knows its type; a JSON object is one too, whose
// fields need no resolver.
#pragma once

#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <typeinfo>
#include <variant>
#include <vector>

#include "base/json.hpp"
#include "graphql/error.hpp"

namespace postern::graphql {

class Schema;

/// What a field got, coerced. Absent and null are two things: an absent argument is not in the map.
class Arguments {
 public:
  explicit Arguments(const json::Object& values) : values_(&values) {}

  [[nodiscard]] bool has(std::string_view name) const { return find(name) != nullptr; }
  /// Null when it is absent; a JSON null when it is null.
  [[nodiscard]] const json::Value* find(std::string_view name) const;
  /// Nothing when it is absent, null, or of another kind.
  [[nodiscard]] std::optional<std::string_view> text(std::string_view name) const;
  [[nodiscard]] std::optional<std::int64_t> integer(std::string_view name) const;
  [[nodiscard]] std::optional<bool> boolean(std::string_view name) const;
  [[nodiscard]] const json::Object& all() const { return *values_; }

 private:
  const json::Object* values_;
};

/// A pointer that knows what it points to.
class AnyRef {
 public:
  AnyRef() = default;
  template <typename T>
  [[nodiscard]] static AnyRef to(T& value) {
    return AnyRef(const_cast<std::remove_const_t<T>*>(&value), typeid(T));
  }
  /// Null when it points to something else.
  template <typename T>
  [[nodiscard]] T* as() const {
    return type_ != nullptr && *type_ == typeid(T) ? static_cast<T*>(data_) : nullptr;
  }

 private:
  AnyRef(void* data, const std::type_info& type) : data_(data), type_(&type) {}

  void* data_ = nullptr;
  const std::type_info* type_ = nullptr;
};

/// An object of the answer: whose fields are asked next.
struct ObjectValue {
  std::shared_ptr<const void> owner{};  ///< keeps it alive, where it is not borrowed
  AnyRef ref{};
  /// Which object type of the schema it is; needed where the field's type is an interface or a union.
  std::string_view type_name{};
};

/// What a resolver found: a leaf or JSON (Null too), an object, a list of these, or an error that stands for the field.
class Resolved {
 public:
  Resolved() = default;
  template <typename T>
  requires std::constructible_from<json::Value, T> &&(!std::same_as<std::remove_cvref_t<T>, Resolved>)Resolved(T&& leaf)
      : data_(std::in_place_type<json::Value>, std::forward<T>(leaf)) {}
  Resolved(ObjectValue object) : data_(std::move(object)) {}
  Resolved(std::vector<Resolved> items) : data_(std::move(items)) {}
  Resolved(Error error) : data_(std::move(error)) {}

  /// An object that outlives the request, as one of a snapshot does. `type_name` is a literal.
  template <typename T>
  [[nodiscard]] static Resolved borrowed(const T& object, std::string_view type_name = {}) {
    return ObjectValue{{}, AnyRef::to(object), type_name};
  }
  template <typename T>
  [[nodiscard]] static Resolved owned(T object, std::string_view type_name = {}) {
    auto owner = std::make_shared<const T>(std::move(object));
    const AnyRef ref = AnyRef::to(*owner);
    return ObjectValue{std::move(owner), ref, type_name};
  }
  [[nodiscard]] static Resolved failed(std::string message) { return Error{std::move(message)}; }

  [[nodiscard]] const json::Value* as_json() const { return std::get_if<json::Value>(&data_); }
  [[nodiscard]] const ObjectValue* as_object() const { return std::get_if<ObjectValue>(&data_); }
  [[nodiscard]] const std::vector<Resolved>* as_list() const { return std::get_if<std::vector<Resolved>>(&data_); }
  [[nodiscard]] const Error* as_error() const { return std::get_if<Error>(&data_); }
  [[nodiscard]] bool is_null() const { return as_json() != nullptr && as_json()->is_null(); }

 private:
  std::variant<json::Value, ObjectValue, std::vector<Resolved>, Error> data_;
};

/// One call of a resolver. Nothing in it outlives the call.
struct Call {
  AnyRef context;
  const Schema& schema;
  const ObjectValue& source;
  const Arguments& arguments;
  std::string_view type_name;
  std::string_view field_name;
};

using Resolver = std::function<Resolved(const Call&)>;

/// Both ways of a custom scalar. The text of an error says what is wrong with the value.
struct ScalarCodec {
  using Conversion = std::function<std::expected<json::Value, std::string>(const json::Value&)>;
  Conversion parse{};      ///< what a client sent; without one, everything is taken
  Conversion serialize{};  ///< what a resolver gave; without one, everything is sent
};

class Resolvers {
 public:
  void add(std::string coordinate, Resolver resolver) { fields_[std::move(coordinate)] = std::move(resolver); }
  void add_scalar(std::string name, ScalarCodec codec) { scalars_[std::move(name)] = std::move(codec); }

  [[nodiscard]] const std::map<std::string, Resolver>& fields() const { return fields_; }
  [[nodiscard]] const std::map<std::string, ScalarCodec>& scalars() const { return scalars_; }

 private:
  std::map<std::string, Resolver> fields_;
  std::map<std::string, ScalarCodec> scalars_;
};

/// Registers functions that say the C++ types of the request's context and of the objects that they take. An object or
/// a context of another type is an error of the field, because a client may have chosen the way to it.
template <typename Context>
class ResolversFor {
 public:
  /// `function(Context&, const Source&, const Arguments&)` gives what Resolved can be made of.
  template <typename Source, typename Function>
  void field(std::string coordinate, Function function) {
    untyped_.add(std::move(coordinate), [function = std::move(function)](const Call& call) -> Resolved {
      auto* context = call.context.as<Context>();
      const auto* source = call.source.ref.as<Source>();
      if (context == nullptr || source == nullptr) return mismatch(call);
      return function(*context, *source, call.arguments);
    });
  }
  /// For fields of Query and Mutation: `function(Context&, const Arguments&)`.
  template <typename Function>
  void root(std::string coordinate, Function function) {
    untyped_.add(std::move(coordinate), [function = std::move(function)](const Call& call) -> Resolved {
      auto* context = call.context.as<Context>();
      if (context == nullptr) return mismatch(call);
      return function(*context, call.arguments);
    });
  }
  void scalar(std::string name, ScalarCodec codec) { untyped_.add_scalar(std::move(name), std::move(codec)); }

  [[nodiscard]] const Resolvers& untyped() const { return untyped_; }

 private:
  static Resolved mismatch(const Call& call) {
    return Resolved::failed("Field " + std::string(call.type_name) + "." + std::string(call.field_name) +
                            " was asked of an object that its resolver does not know.");
  }

  Resolvers untyped_;
};

}  // namespace postern::graphql
