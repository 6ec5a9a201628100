#include "graphql/execution.hpp"

#include <algorithm>
#include <map>

#include "graphql/collect.hpp"
#include "graphql/scalars.hpp"
#include "graphql/values.hpp"

namespace postern::graphql {
namespace {

/// The way to a value, from it to the root.
struct Path {
  const Path* above = nullptr;
  std::variant<std::string_view, std::size_t> segment;

  [[nodiscard]] std::vector<PathSegment> to_root() const {
    std::vector<PathSegment> segments;
    for (const Path* step = this; step != nullptr; step = step->above) {
      if (const auto* name = std::get_if<std::string_view>(&step->segment)) {
        segments.emplace_back(std::string(*name));
      } else {
        segments.emplace_back(std::get<std::size_t>(step->segment));
      }
    }
    return {segments.rbegin(), segments.rend()};
  }
};

/// What a resolver gave, or a part of its JSON, without a copy. At most one pointer is set.
struct Found {
  explicit Found(const json::Value& value) : json(&value) {}
  explicit Found(const Resolved& resolved)
      : json(resolved.as_json()), object(resolved.as_object()), list(resolved.as_list()), error(resolved.as_error()) {}

  [[nodiscard]] bool is_null() const { return json != nullptr && json->is_null(); }

  const json::Value* json = nullptr;
  const ObjectValue* object = nullptr;
  const std::vector<Resolved>* list = nullptr;
  const Error* error = nullptr;
};

/// A field of one object type, ready to be asked of any number of such objects.
struct Planned {
  const Type& parent;
  const OutputField& definition;
  FieldGroup group;
  std::expected<json::Object, Error> arguments;
};
using Plan = std::vector<std::unique_ptr<Planned>>;

/// Nothing: the value could not be had, its error is noted, and the null goes on to what contains it.
using Completed = std::optional<json::Value>;

class Execution {
 public:
  Execution(const Schema& schema, const Document& document, const json::Object& variables, AnyRef context,
            std::size_t fields_max)
      : schema_(schema),
        variables_(variables),
        collector_(schema, document, variables),
        context_(context),
        fields_left_(fields_max) {}

  Response run(const Operation& operation, const Type& root, const ObjectValue& source) {
    Response response;
    auto groups = collector_.collect(root, operation.selections);
    if (groups) {
      response.data = complete_fields(root, plan(root, std::move(*groups)), source, nullptr);
    } else {
      errors_.push_back(std::move(groups.error()));
    }
    if (!response.data) response.data = json::Value();
    response.errors = std::move(errors_);
    return response;
  }

 private:
  Plan plan(const Type& object, std::vector<FieldGroup> groups) const {
    Plan plan;
    for (FieldGroup& group : groups) {
      const Field& first = *group.fields.front();
      const OutputField* definition = schema_.field(object, first.name);
      if (definition == nullptr) continue;  // in no valid document
      auto arguments = coerce_arguments(definition->arguments, first.arguments, first.at, variables_);
      plan.push_back(std::make_unique<Planned>(Planned{object, *definition, std::move(group), std::move(arguments)}));
    }
    return plan;
  }

  /// The same for all items of a list.
  const std::expected<Plan, Error>& plan_below(const Planned& field, const Type& object) {
    const auto known = plans_.find({&field, &object});
    if (known != plans_.end()) return known->second;
    auto groups = collector_.collect_below(object, field.group);
    auto made = groups ? std::expected<Plan, Error>(plan(object, std::move(*groups)))
                       : std::expected<Plan, Error>(std::unexpected(std::move(groups.error())));
    return plans_.emplace(std::pair{&field, &object}, std::move(made)).first->second;
  }

  Completed complete_fields(const Type& object, const Plan& plan, const ObjectValue& source, const Path* path) {
    json::Object members;
    members.reserve(plan.size());
    for (const auto& field : plan) {
      const Path below{path, field->group.response_name};
      Completed value = resolve(object, *field, source, below);
      if (!value && (is_stopped_ || field->definition.type.view().is_non_null())) return std::nullopt;
      members.emplace_back(field->group.response_name, value ? std::move(*value) : json::Value());
    }
    return members;
  }

  Completed resolve(const Type& object, const Planned& field, const ObjectValue& source, const Path& path) {
    if (fields_left_ == 0) return stop(field, path);
    --fields_left_;
    const TypeView type = field.definition.type.view();
    if (field.definition.name == "__typename") return json::Value(object.name);
    if (!field.arguments) return fail(field, path, field.arguments.error());
    if (field.definition.resolve) {
      const Arguments arguments(*field.arguments);
      const Call call{context_, schema_, source, arguments, object.name, field.definition.name};
      const Resolved resolved = field.definition.resolve(call);
      return complete(type, Found(resolved), field, path);
    }
    static const json::Value kNull;
    const auto* json = source.ref.as<const json::Value>();
    const json::Value* member = json == nullptr ? nullptr : json->find(field.definition.name);
    return complete(type, Found(member == nullptr ? kNull : *member), field, path);
  }

  Completed complete(TypeView type, const Found& found, const Planned& field, const Path& path) {
    if (found.error != nullptr) return fail(field, path, *found.error);
    if (type.is_non_null()) {
      Completed value = complete(type.inner(), found, field, path);
      if (!value || !value->is_null()) return value;
      return fail(
          field, path,
          {"Cannot return null for non-nullable field " + field.parent.name + "." + field.definition.name + "."});
    }
    if (found.is_null()) return json::Value();
    if (type.is_list()) return complete_list(type.inner(), found, field, path);
    if (type.named->is_leaf()) return complete_leaf(*type.named, found, field, path);
    return complete_object(*type.named, found, field, path);
  }

  Completed complete_list(TypeView item_type, const Found& found, const Planned& field, const Path& path) {
    json::Array items;
    const auto add = [&](const auto& item) {
      const Path below{&path, items.size()};
      Completed value = complete(item_type, Found(item), field, below);
      if (!value && (is_stopped_ || item_type.is_non_null())) return false;
      items.push_back(value ? std::move(*value) : json::Value());
      return true;
    };
    const json::Array* json = found.json == nullptr ? nullptr : found.json->as_array();
    if (json != nullptr) return std::ranges::all_of(*json, add) ? Completed(std::move(items)) : std::nullopt;
    if (found.list != nullptr)
      return std::ranges::all_of(*found.list, add) ? Completed(std::move(items)) : std::nullopt;
    return fail(field, path,
                {"Expected Iterable, but did not find one for field \"" + field.parent.name + "." +
                 field.definition.name + "\"."});
  }

  Completed complete_leaf(const Type& type, const Found& found, const Planned& field, const Path& path) {
    if (found.json == nullptr) {
      return fail(field, path, {"Expected a value of \"" + type.name + "\", but the resolver gave something else."});
    }
    auto leaf = serialize_leaf(type, *found.json);
    if (leaf) return std::move(*leaf);
    return fail(field, path, {std::move(leaf.error().message)});
  }

  Completed complete_object(const Type& type, const Found& found, const Planned& field, const Path& path) {
    if (found.list != nullptr || (found.json != nullptr && found.json->as_object() == nullptr)) {
      return fail(field, path, {"Expected an object of \"" + type.name + "\", but the resolver gave something else."});
    }
    const Type* object = &type;
    if (type.is_abstract()) {
      object = schema_.find(type_name(found));
      if (object == nullptr || !type.may_be(*object)) return fail_abstract(type, found, field, path);
    }
    const auto& below = plan_below(field, *object);
    if (!below) return fail(field, path, below.error());
    if (found.object != nullptr) return complete_fields(*object, *below, *found.object, &path);
    return complete_fields(*object, *below, {{}, AnyRef::to(*found.json), {}}, &path);
  }

  static std::string_view type_name(const Found& found) {
    if (found.object != nullptr) return found.object->type_name;
    const json::Value* name = found.json->find("__typename");
    return name == nullptr || name->as_string() == nullptr ? std::string_view() : *name->as_string();
  }

  Completed fail_abstract(const Type& type, const Found& found, const Planned& field, const Path& path) {
    const std::string name(type_name(found));
    if (name.empty() || schema_.find(name) == nullptr) {
      return fail(field, path,
                  {"Abstract type \"" + type.name + "\" must resolve to an Object type at runtime for field \"" +
                   field.parent.name + "." + field.definition.name + "\"."});
    }
    return fail(field, path,
                {"Runtime Object type \"" + name + "\" is not a possible type for \"" + type.name + "\"."});
  }

  Completed fail(const Planned& field, const Path& path, Error error) {
    if (error.locations.empty()) {
      for (const Field* node : field.group.fields) error.locations.push_back(node->at);
    }
    error.path = path.to_root();
    errors_.push_back(std::move(error));
    return std::nullopt;
  }

  Completed stop(const Planned& field, const Path& path) {
    is_stopped_ = true;
    return fail(field, path, {"The answer is larger than it may be; ask for less in one request."});
  }

  const Schema& schema_;
  const json::Object& variables_;
  FieldCollector collector_;
  AnyRef context_;
  std::size_t fields_left_;
  bool is_stopped_ = false;
  std::map<std::pair<const Planned*, const Type*>, std::expected<Plan, Error>> plans_;
  std::vector<Error> errors_;
};

}  // namespace

json::Value to_json(const Response& response) {
  json::Object object;
  if (!response.errors.empty()) object.emplace_back("errors", to_json(response.errors));
  if (response.data) object.emplace_back("data", *response.data);
  return object;
}

std::expected<const Operation*, Error> choose_operation(const Document& document, std::string_view operation_name) {
  const Operation* chosen = nullptr;
  for (const Definition& definition : document.definitions) {
    const auto* operation = std::get_if<Operation>(&definition);
    if (operation == nullptr) continue;
    if (operation_name.empty() && chosen != nullptr) {
      return std::unexpected(Error{"Must provide operation name if query contains multiple operations."});
    }
    if (operation_name.empty() || operation->name == operation_name) chosen = operation;
  }
  if (chosen != nullptr) return chosen;
  if (operation_name.empty()) return std::unexpected(Error{"Must provide an operation."});
  return std::unexpected(Error{"Unknown operation named \"" + std::string(operation_name) + "\"."});
}

Response execute(const Schema& schema, const Document& document, std::string_view operation_name,
                 const json::Object& variables, AnyRef context, const ExecutionLimits& limits,
                 const ObjectValue& root_source) {
  const auto refuse = [](std::vector<Error> errors) { return Response{{}, std::move(errors)}; };
  const auto operation = choose_operation(document, operation_name);
  if (!operation) return refuse({operation.error()});
  const Type* root = schema.root((*operation)->kind);
  if (root == nullptr) {
    const std::string kind(to_string((*operation)->kind));
    return refuse({{"Schema is not configured to execute " + kind + " operation.", {(*operation)->at}}});
  }
  auto coerced = coerce_variables(schema, **operation, variables);
  if (!coerced) return refuse(std::move(coerced.error()));
  if (auto cost = check_cost(schema, document, **operation, *coerced, limits.cost); !cost) {
    return refuse({std::move(cost.error())});
  }
  return Execution(schema, document, *coerced, context, limits.result_fields_max).run(**operation, *root, root_source);
}

}  // namespace postern::graphql
