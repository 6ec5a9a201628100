// Execution of a valid document (October 2021, §6): which operation, with which variables, and the answer.
//
// Resolvers are called one after the other, in the order of the response. Nothing here waits.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "graphql/cost.hpp"
#include "graphql/schema.hpp"

namespace postern::graphql {

struct ExecutionLimits {
  CostLimits cost{};
  /// Fields of one answer, whatever the estimate was; at the bound the answer is an error without data.
  std::size_t result_fields_max = 2'000'000;
};

struct Response {
  /// Absent when nothing was executed; null when an error took everything with it.
  std::optional<json::Value> data{};
  std::vector<Error> errors{};
};

/// `errors` first, as people look for them there.
[[nodiscard]] json::Value to_json(const Response& response);

/// What a client sends, decoded.
struct Request {
  std::string query{};
  std::string operation_name{};  ///< empty: the only operation
  json::Object variables{};
};

[[nodiscard]] std::expected<const Operation*, Error> choose_operation(const Document& document,
                                                                      std::string_view operation_name);

/// `document` is valid for `schema`. `root` is the source of the root's fields, which few resolvers look at.
[[nodiscard]] Response execute(const Schema& schema, const Document& document, std::string_view operation_name,
                               const json::Object& variables, AnyRef context, const ExecutionLimits& limits = {},
                               const ObjectValue& root = {});

}  // namespace postern::graphql
