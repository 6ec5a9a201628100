// graphql_judge: libs/graphql behind a command line, for the comparison with the reference implementation (README.md).
//
//   graphql_judge serve SCHEMA DATA CA     GraphQL over HTTPS on a free port of 127.0.0.1, which is the first line of
//   its
//                                          output; the root certificate goes into the file CA
//   graphql_judge answer SCHEMA DATA       a request as JSON on each line of the input, a response on each of the
//   output graphql_judge print SCHEMA             the schema as libs/graphql writes it
//
// The data is one JSON object, the source of every root; the fields of Echo answer with their arguments as JSON.
#include <algorithm>
#include <csignal>
#include <fstream>
#include <iostream>
#include <limits>
#include <sstream>

#include "base/random.hpp"
#include "graphql/http.hpp"
#include "graphql/printer.hpp"
#include "identity/keys.hpp"
#include "runtime/http/http_server.hpp"

namespace {

using namespace postern;

[[noreturn]] void die(const std::string& what) {
  std::cerr << "graphql_judge: " << what << "\n";
  std::exit(2);
}

std::string read_file(const std::string& name) {
  std::ifstream file(name);
  if (!file) die("cannot read " + name);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Registers a resolver for every field of Echo, so that the schema's text alone says what there is.
graphql::Schema read_schema(const std::string& name) {
  const std::string text = read_file(name);
  const auto plain = graphql::build_schema(text);
  if (!plain) die(name + ": " + plain.error().front().message);
  graphql::Resolvers resolvers;
  for (const graphql::OutputField& field : plain->find("Echo")->fields) {
    resolvers.add("Echo." + field.name, [](const graphql::Call& call) -> graphql::Resolved {
      return json::write(json::Value(call.arguments.all()));
    });
  }
  auto schema = graphql::build_schema(text, resolvers);
  if (!schema) die(name + ": " + schema.error().front().message);
  return std::move(*schema);
}

json::Value read_data(const std::string& name) {
  auto data = json::parse(read_file(name), {1U << 20, 64});
  if (!data) die(name + " is not JSON");
  return std::move(*data);
}

graphql::ObjectValue source_of(const json::Value& data) {
  return {{}, graphql::AnyRef::to(data), {}};
}

/// The reference has no bound of costs, and the answers here are small.
graphql::ExecutionLimits any_cost() {
  graphql::ExecutionLimits limits;
  limits.cost.cost_max = std::numeric_limits<std::uint64_t>::max();
  return limits;
}

json::Value answer(const graphql::Schema& schema, const json::Value& data, const json::Value& request) {
  const auto document = graphql::parse(*request.find("query")->as_string());
  if (!document) return json::Object{{"syntax", graphql::to_json(document.error())}};
  const auto invalid = graphql::validate(schema, *document, {.errors_max = 100'000});
  if (!invalid.empty()) return json::Object{{"invalid", graphql::to_json(invalid)}};
  return graphql::to_json(graphql::execute(schema, *document, "", *request.find("variables")->as_object(), {},
                                           any_cost(), source_of(data)));
}

int answer_lines(const graphql::Schema& schema, const json::Value& data) {
  std::string line;
  while (std::getline(std::cin, line)) {
    const auto request = json::parse(line, {1U << 20, 64});
    if (!request) die("a line is not JSON: " + line);
    std::cout << json::write(answer(schema, data, *request)) << "\n";
  }
  return 0;
}

runtime::HttpServerConfig make_config(const std::string& ca_file) {
  using namespace std::chrono;
  SeededRandom random{static_cast<std::uint64_t>(system_clock::now().time_since_epoch().count())};
  const auto now = time_point_cast<WallTime::duration>(system_clock::now());
  const auto root = identity::PrivateKey::generate(random);
  const auto leaf = identity::PrivateKey::generate(random);
  const std::string root_pem = identity::make_root_certificate(root, "tests/api", now - hours(1));
  identity::CertificateRequest request;
  request.common_name = "127.0.0.1";
  request.ip_addresses = {"127.0.0.1"};
  request.not_before = now - hours(1);
  request.not_after = now + days(1);
  const auto certificate = identity::issue_certificate(root, root_pem, leaf.public_key(), request, random);
  if (!certificate) die("no certificate could be made");
  std::ofstream(ca_file) << root_pem;
  runtime::HttpServerConfig config;
  config.tls.listen = {IpAddress::v4(127, 0, 0, 1), 0};
  config.tls.certificate_pem = *certificate + root_pem;
  config.tls.private_key_pem = leaf.to_pem();
  return config;
}

runtime::HttpResponse respond(const graphql::Schema& schema, const json::Value& data,
                              const runtime::HttpRequest& request) {
  graphql::HttpInput input;
  input.method = request.method;
  input.query_string = request.query();
  input.accept = runtime::find_header(request.headers, "accept");
  input.content_type = runtime::find_header(request.headers, "content-type");
  input.body = request.body;
  const auto prepared = graphql::prepare(schema, input);
  graphql::HttpOutput output =
      prepared ? graphql::execute(schema, *prepared, {}, {}, source_of(data)) : prepared.error();
  return {output.status, std::move(output.body), std::move(output.headers)};
}

int serve(const graphql::Schema& schema, const json::Value& data, const std::string& ca_file) {
  runtime::IoLoop loop;
  runtime::HttpServer server(loop, make_config(ca_file));
  for (const char* method : {"GET", "POST", "PUT", "PATCH", "DELETE"}) {
    server.route(method, "/graphql",
                 [&](const runtime::HttpRequest& request, const runtime::HttpServer::Responder& done) {
                   done(respond(schema, data, request));
                 });
  }
  if (const auto started = server.start(); !started) die(started.error().message);
  loop.on_signals({SIGINT, SIGTERM}, [&loop](int) { loop.stop(); });
  std::cout << server.port() << std::endl;
  loop.run();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() == 2 && words[0] == "print") {
    std::cout << graphql::print_schema(read_schema(words[1]));
    return 0;
  }
  if (words.size() == 3 && words[0] == "answer") return answer_lines(read_schema(words[1]), read_data(words[2]));
  if (words.size() == 4 && words[0] == "serve") return serve(read_schema(words[1]), read_data(words[2]), words[3]);
  die("usage: graphql_judge serve SCHEMA DATA CA | answer SCHEMA DATA | print SCHEMA");
}
