#include "graphql/http.hpp"

#include "graphql/query_string.hpp"

namespace postern::graphql {
namespace {

constexpr int kOk = 200, kBadRequest = 400, kMethodNotAllowed = 405, kNotAcceptable = 406, kTooLarge = 413,
              kUnsupportedMediaType = 415;

/// A request is read member by member; the first that is wrong is the answer.
using Read = std::expected<Request, Error>;

std::unexpected<HttpOutput> fail(int status, std::string message, MediaType media) {
  return std::unexpected(refuse(status, {{std::move(message)}}, media));
}

std::unexpected<HttpOutput> refuse_method(std::string message, std::string allowed, MediaType media) {
  HttpOutput output = refuse(kMethodNotAllowed, {{std::move(message)}}, media);
  output.headers.emplace_back("Allow", std::move(allowed));
  return std::unexpected(std::move(output));
}

/// The request was understood, but what it asks for cannot be executed.
HttpOutput refuse_document(const std::vector<Error>& errors, MediaType media) {
  return refuse(media == MediaType::Json ? kOk : kBadRequest, errors, media);
}

/// Null where it is absent or null.
std::expected<const json::Object*, Error> read_map(const json::Value& body, const std::string& name) {
  const json::Value* value = body.find(name);
  if (value == nullptr || value->is_null()) return nullptr;
  if (value->as_object() == nullptr) return std::unexpected(Error{"\"" + name + "\" must be a map."});
  return value->as_object();
}

Read read_members(const json::Value& body) {
  if (body.as_array() != nullptr) {
    return std::unexpected(Error{"Batches are not supported; send one operation in a request."});
  }
  if (body.as_object() == nullptr) return std::unexpected(Error{"The body must be a JSON object."});
  Request request;
  const json::Value* query = body.find("query");
  if (query == nullptr || query->is_null()) return std::unexpected(Error{"\"query\" is missing."});
  if (query->as_string() == nullptr) return std::unexpected(Error{"\"query\" must be a string."});
  request.query = *query->as_string();
  const json::Value* name = body.find("operationName");
  if (name != nullptr && !name->is_null()) {
    if (name->as_string() == nullptr) return std::unexpected(Error{"\"operationName\" must be a string."});
    request.operation_name = *name->as_string();
  }
  const auto variables = read_map(body, "variables");
  if (!variables) return std::unexpected(variables.error());
  if (*variables != nullptr) request.variables = **variables;
  if (const auto extensions = read_map(body, "extensions"); !extensions) return std::unexpected(extensions.error());
  return request;
}

/// The same members, maps as JSON in text.
Read read_query_string(std::string_view text, const Limits& limits) {
  const auto parameters = parse_query_string(text);
  if (!parameters) return std::unexpected(Error{"The query string is malformed, or has a parameter twice."});
  json::Object members;
  for (const auto& [name, value] : *parameters) {
    if (name != "variables" && name != "extensions") {
      members.emplace_back(name, value);
      continue;
    }
    auto map = json::parse(value, {limits.body_max, limits.variables_depth_max});
    if (!map) return std::unexpected(Error{"\"" + name + "\" must be a map as JSON."});
    members.emplace_back(name, std::move(*map));
  }
  return read_members(members);
}

std::expected<Request, HttpOutput> read_body(const HttpInput& input, MediaType media, const Limits& limits) {
  if (!is_json_body(input.content_type)) {
    return fail(kUnsupportedMediaType, "The body must be application/json in UTF-8.", media);
  }
  auto body = json::parse(input.body, {limits.body_max, limits.variables_depth_max});
  if (!body && body.error() == json::Error::TooLarge) return fail(kTooLarge, "The body is too large.", media);
  if (!body) return fail(kBadRequest, "The body is not JSON.", media);
  auto request = read_members(*body);
  if (!request) return std::unexpected(refuse(kBadRequest, {request.error()}, media));
  return std::move(*request);
}

std::expected<Request, HttpOutput> read_request(const HttpInput& input, MediaType media, const Limits& limits) {
  if (input.method == "POST") return read_body(input, media, limits);
  if (input.method != "GET" && input.method != "HEAD") {
    return refuse_method("Use POST, or GET for queries.", "GET, POST", media);
  }
  auto request = read_query_string(input.query_string, limits);
  if (!request) return std::unexpected(refuse(kBadRequest, {request.error()}, media));
  return std::move(*request);
}

}  // namespace

HttpOutput refuse(int status, const std::vector<Error>& errors, MediaType media) {
  HttpOutput output;
  output.status = status;
  output.headers.emplace_back("Content-Type", content_type(media));
  output.body = json::write(json::Object{{"errors", to_json(errors)}});
  return output;
}

std::expected<PreparedRequest, HttpOutput> prepare(const Schema& schema, const HttpInput& input, const Limits& limits) {
  const auto media = negotiate(input.accept);
  if (!media) {
    return fail(kNotAcceptable, "Accept application/json or application/graphql-response+json.", MediaType::Json);
  }
  auto request = read_request(input, *media, limits);
  if (!request) return std::unexpected(std::move(request.error()));
  PreparedRequest prepared{*media, std::move(*request)};
  auto document = parse(prepared.request.query, limits.parse);
  if (!document) return std::unexpected(refuse_document({document.error()}, *media));
  prepared.document = std::move(*document);
  const auto operation = choose_operation(prepared.document, prepared.request.operation_name);
  if (operation) {
    prepared.kind = (*operation)->kind;
    if (prepared.kind == OperationKind::Mutation && input.method != "POST") {
      return refuse_method("Mutations need POST.", "POST", *media);
    }
  }
  if (auto errors = validate(schema, prepared.document, limits.validation); !errors.empty()) {
    return std::unexpected(refuse_document(errors, *media));
  }
  if (!operation) return std::unexpected(refuse_document({operation.error()}, *media));
  if (prepared.kind == OperationKind::Subscription) {
    return std::unexpected(refuse_document({{"Subscriptions are not supported."}}, *media));
  }
  return prepared;
}

HttpOutput execute(const Schema& schema, const PreparedRequest& prepared, AnyRef context, const Limits& limits,
                   const ObjectValue& root) {
  const Response response = execute(schema, prepared.document, prepared.request.operation_name,
                                    prepared.request.variables, context, limits.execution, root);
  if (!response.data) return refuse_document(response.errors, prepared.media);
  HttpOutput output;
  output.status = kOk;
  output.headers.emplace_back("Content-Type", content_type(prepared.media));
  output.body = json::write(to_json(response));
  return output;
}

}  // namespace postern::graphql
