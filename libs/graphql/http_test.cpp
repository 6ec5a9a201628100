#include "graphql/http.hpp"

#include "graphql/graphql_test_util.hpp"
#include "graphql/query_string.hpp"

namespace postern::graphql {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view kResponseJson = "application/graphql-response+json";

HttpOutput ask(const HttpInput& input, const Limits& limits = {}) {
  static const Schema schema =
      make_schema("type Query { a(x: Int): Int } type Mutation { b: Int } type Subscription { c: Int }");
  static const json::Value root = json::Object{{"a", 1}, {"b", 2}};
  const auto prepared = prepare(schema, input, limits);
  return prepared ? execute(schema, *prepared, {}, limits, {{}, AnyRef::to(root), {}}) : prepared.error();
}

HttpOutput post(std::string_view body, std::string_view accept = {},
                std::string_view content_type = "application/json") {
  return ask({.method = "POST", .accept = accept, .content_type = content_type, .body = body});
}

HttpOutput get(std::string_view query_string, std::string_view accept = {}) {
  return ask({.method = "GET", .query_string = query_string, .accept = accept});
}

std::string header(const HttpOutput& output, std::string_view name) {
  for (const auto& [key, value] : output.headers) {
    if (key == name) return value;
  }
  return "none";
}

TEST(GraphqlHttp, AnswersPostAndGet) {
  const HttpOutput posted = post(R"({"query":"{ a }"})");
  EXPECT_EQ(posted.status, 200);
  EXPECT_EQ(posted.body, R"({"data":{"a":1}})");
  EXPECT_EQ(header(posted, "Content-Type"), "application/json; charset=utf-8");
  EXPECT_EQ(get("query=%7B+a%20%7D").body, R"({"data":{"a":1}})");
  EXPECT_EQ(get("query=query($x:Int){a(x:$x)}&variables={\"x\":1}&operationName=&extensions={}").status, 200);
  EXPECT_EQ(post(R"({"query":"{ a }","variables":null,"operationName":null,"extensions":null})").status, 200);
  EXPECT_EQ(post(R"({"query":"query A { a } query B { a }","operationName":"B","extensions":{"x":1}})").status, 200);
}

TEST(GraphqlHttp, AnswersInTheMediaTypeThatIsAccepted) {
  EXPECT_EQ(header(post(R"({"query":"{ a }"})", kResponseJson), "Content-Type"),
            "application/graphql-response+json; charset=utf-8");
  EXPECT_EQ(negotiate(""), MediaType::Json);
  EXPECT_EQ(negotiate("*/*"), MediaType::Json);
  EXPECT_EQ(negotiate("text/html, application/*;q=0.5"), MediaType::Json);
  EXPECT_EQ(negotiate("application/graphql-response+json; charset=utf-8, application/json;q=0.9"),
            MediaType::GraphqlResponse);
  EXPECT_EQ(negotiate("application/json, application/graphql-response+json"), MediaType::Json);
  EXPECT_EQ(negotiate("application/json;q=0.1, Application/GraphQL-Response+JSON;Q=0.2"), MediaType::GraphqlResponse);
  EXPECT_EQ(negotiate("application/json;q=0"), std::nullopt);
  EXPECT_EQ(negotiate("text/html"), std::nullopt);
  EXPECT_EQ(post(R"({"query":"{ a }"})", "text/html").status, 406);
}

TEST(GraphqlHttp, RefusesBodiesThatAreNotJson) {
  EXPECT_EQ(post(R"({"query":"{ a }"})", {}, "").status, 415);
  EXPECT_EQ(post(R"({"query":"{ a }"})", {}, "text/plain").status, 415);
  EXPECT_EQ(post(R"({"query":"{ a }"})", {}, "application/json; charset=latin1").status, 415);
  EXPECT_EQ(post(R"({"query":"{ a }"})", {}, "Application/JSON ; charset=\"UTF-8\"").status, 200);
  EXPECT_EQ(post("{ \"not json").status, 400);
  EXPECT_EQ(post("").status, 400);
  EXPECT_EQ(post("\"{ a }\"").status, 400);
  EXPECT_EQ(post("{\"query\":\"\xFF\"}").status, 400);
  EXPECT_EQ(ask({.method = "POST", .content_type = "application/json", .body = "{}          "}, {.body_max = 8}).status,
            413);
}

TEST(GraphqlHttp, RefusesBatches) {
  const HttpOutput output = post(R"([{"query":"{ a }"},{"query":"{ a }"}])");
  EXPECT_EQ(output.status, 400);
  EXPECT_THAT(output.body, HasSubstr("Batches are not supported"));
}

TEST(GraphqlHttp, RefusesMembersOfTheWrongKindInEveryMediaType) {
  for (const std::string_view accept : {std::string_view("application/json"), kResponseJson}) {
    for (const char* body : {R"({})", R"({"query":null})", R"({"query":1})", R"({"query":{}})",
                             R"({"query":"{a}","operationName":1})", R"({"query":"{a}","variables":"x"})",
                             R"({"query":"{a}","variables":[]})", R"({"query":"{a}","extensions":3})"}) {
      EXPECT_EQ(post(body, accept).status, 400) << body;
    }
  }
  for (const char* query_string : {"", "query=%7", "query=%zz", "query={a}&query={b}", "query={a}&variables=[]",
                                   "query={a}&variables=x", "query={a}&extensions=1"}) {
    EXPECT_EQ(get(query_string).status, 400) << query_string;
  }
}

TEST(GraphqlHttp, TellsByStatusWhatCouldNotBeExecutedOnlyWhereTheMediaTypeSaysSo) {
  for (const char* body : {R"({"query":"{"})", R"({"query":"{ nothing }"})", R"({"query":"{ a }","operationName":"X"})",
                           R"({"query":"query ($x: Int!) { a(x: $x) }"})", R"({"query":"subscription { c }"})"}) {
    const HttpOutput json = post(body, "application/json");
    EXPECT_EQ(json.status, 200) << body;
    EXPECT_THAT(json.body, HasSubstr("\"errors\":[")) << body;
    EXPECT_THAT(json.body, ::testing::Not(HasSubstr("\"data\""))) << body;
    EXPECT_EQ(post(body, kResponseJson).status, 400) << body;
  }
}

TEST(GraphqlHttp, DoesNotAnswerALongNameWithManyLongMessages) {
  std::string query = "query " + std::string(100'000, 'q') + " { a";
  for (int i = 0; i < 90; ++i) query += " a" + std::to_string(i) + ": a(x: $v)";
  const HttpOutput output = post(json::write(json::Object{{"query", query + " }"}}));
  EXPECT_THAT(output.body, HasSubstr("Variable \\\"$v\\\" is not defined by operation \\\"qqq"));
  EXPECT_LT(output.body.size(), 250'000U);
}

TEST(GraphqlHttp, WritesOnlyByPost) {
  EXPECT_EQ(post(R"({"query":"mutation { b }"})").body, R"({"data":{"b":2}})");
  const HttpOutput refused = get("query=mutation{b}");
  EXPECT_EQ(refused.status, 405);
  EXPECT_EQ(header(refused, "Allow"), "POST");
  const HttpOutput put = ask({.method = "PUT"});
  EXPECT_EQ(put.status, 405);
  EXPECT_EQ(header(put, "Allow"), "GET, POST");
}

TEST(GraphqlHttp, TellsTheCallerWhatIsAskedBeforeItIsDone) {
  const Schema schema = make_schema("type Query { a: Int } type Mutation { b: Int }");
  const auto prepared = prepare(schema, {.method = "POST",
                                         .content_type = "application/json",
                                         .body = R"({"query":"query A { a } mutation B { b }","operationName":"B"})"});
  ASSERT_TRUE(prepared);
  EXPECT_EQ(prepared->kind, OperationKind::Mutation);
}

TEST(QueryString, IsDecodedOrRefusedWhole) {
  const auto parameters = parse_query_string("a=1+2&&b&c=%C3%A4%26");
  ASSERT_TRUE(parameters);
  EXPECT_EQ(*parameters, (Parameters{{"a", "1 2"}, {"b", ""}, {"c", "\xC3\xA4&"}}));
  EXPECT_FALSE(parse_query_string("a=%"));
  EXPECT_FALSE(parse_query_string("a=1&a=2"));
  std::string many = "x";
  for (int i = 0; i < 20; ++i) many += "&x" + std::to_string(i);
  EXPECT_FALSE(parse_query_string(many));
}

}  // namespace
}  // namespace postern::graphql
