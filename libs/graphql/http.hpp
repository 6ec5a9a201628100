// GraphQL over HTTP as a function: what came in, what goes out. The server that owns the sockets calls it.
//
// POST with a JSON body, GET for queries only; one operation in a request. In application/json every well-formed
// request is answered with 200; in application/graphql-response+json one that could not be executed is 400.
//
// Two steps, so that the caller can judge what is asked (to write needs more rights than to read) before it is done.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "graphql/execution.hpp"
#include "graphql/media_type.hpp"
#include "graphql/parser.hpp"
#include "graphql/validation.hpp"

namespace postern::graphql {

struct Limits {
  std::size_t body_max = 1U << 20;
  unsigned variables_depth_max = 64;
  ParseLimits parse{};
  ValidationLimits validation{};
  ExecutionLimits execution{};
};

/// Headers that a request does not have are empty.
struct HttpInput {
  std::string_view method;
  std::string_view query_string{};  ///< behind the "?", as it was sent
  std::string_view accept{};
  std::string_view content_type{};
  std::string_view body{};
};

struct HttpOutput {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers{};
  std::string body{};
};

/// A valid document with the operation that is to be executed.
struct PreparedRequest {
  MediaType media = MediaType::Json;
  Request request{};
  Document document{};
  OperationKind kind = OperationKind::Query;
};

/// The output is the refusal.
[[nodiscard]] std::expected<PreparedRequest, HttpOutput> prepare(const Schema& schema, const HttpInput& input,
                                                                 const Limits& limits = {});

[[nodiscard]] HttpOutput execute(const Schema& schema, const PreparedRequest& prepared, AnyRef context,
                                 const Limits& limits = {}, const ObjectValue& root = {});

/// Errors in the shape that GraphQL clients read, for refusals of the caller's own (401, 429 and the like).
[[nodiscard]] HttpOutput refuse(int status, const std::vector<Error>& errors, MediaType media = MediaType::Json);

}  // namespace postern::graphql
