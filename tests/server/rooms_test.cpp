// Routes, requests, answers, callers, the authorizer, the OpenAPI document and metrics.
#include <gtest/gtest.h>

#include <thread>

#include "base/json.h"
#include "server/answer.h"
#include "server/authorizer.h"
#include "server/identity.h"
#include "server/metrics.h"
#include "server/openapi.h"
#include "server/policy.h"
#include "server/route.h"
#include "tests/support/expect_error.h"

namespace {

using server::Access;
using server::Method;
using server::Route;
using server::RouteTable;

Route row(Method method, std::string_view pattern, std::string_view action = "act") {
    return {method, pattern, {action}, Access::authenticated, 100, "Acts.", nullptr};
}

RouteTable key_routes() {
    return RouteTable({
        {Method::GET, "/healthz", {""}, Access::open, 0, "Lives.", nullptr},
        row(Method::GET, "/v1/keys", "list_keys"),
        row(Method::POST, "/v1/keys", "create_key"),
        row(Method::GET, "/v1/keys/{key}", "describe_key"),
        row(Method::POST, "/v1/keys/{key}/data-keys", "create_data_key"),
        row(Method::GET, "/v1/keys/alias/{alias}", "describe_key"),
        row(Method::POST, "/v1/keys/alias/{alias}/data-keys", "create_data_key"),
    });
}

std::string_view pattern_of(const RouteTable& table, Method method, std::string_view path) {
    return table.match(method, path).route->pattern;
}

TEST(RouteTable, FindsRowsByMethodAndPath) {
    const auto table = key_routes();
    EXPECT_EQ(pattern_of(table, Method::GET, "/healthz"), "/healthz");
    EXPECT_EQ(table.match(Method::POST, "/v1/keys").route->action.word, "create_key");
    EXPECT_EQ(table.match(Method::GET, "/v1/keys").route->action.word, "list_keys");
    const auto match = table.match(Method::POST, "/v1/keys/k1/data-keys");
    EXPECT_EQ(match.route->pattern, "/v1/keys/{key}/data-keys");
    EXPECT_EQ(match.parameters.at("key"), "k1");
}

TEST(RouteTable, LiteralSegmentGoesBeforeParameter) {
    const auto table = key_routes();
    EXPECT_EQ(pattern_of(table, Method::GET, "/v1/keys/alias/data-keys"), "/v1/keys/alias/{alias}");
    EXPECT_EQ(table.match(Method::GET, "/v1/keys/alias/data-keys").parameters.at("alias"),
              "data-keys");
    EXPECT_ERROR(method_not_allowed, table.match(Method::POST, "/v1/keys/alias/data-keys"));
    EXPECT_EQ(pattern_of(table, Method::POST, "/v1/keys/alias/a/data-keys"),
              "/v1/keys/alias/{alias}/data-keys");
}

TEST(RouteTable, ParametersAreDecodedAfterSplitting) {
    const auto table = key_routes();
    EXPECT_EQ(table.match(Method::GET, "/v1/keys/a%20b%C3%A9%25").parameters.at("key"),
              "a b\xC3\xA9%");
    EXPECT_EQ(pattern_of(table, Method::GET, "/v1/%6Beys"), "/v1/keys");
}

TEST(RouteTable, ForbiddenEscapesAreInvalidArguments) {
    const auto table = key_routes();
    for (const auto* path :
         {"/v1/keys/a%2Fb", "/v1/keys/a%2fb", "/v1/keys/%00", "/v1/keys/%0A", "/v1/keys/%7F",
          "/v1/keys/%", "/v1/keys/%4", "/v1/keys/%zz", "/v1/keys/%u0041", "/v1/keys/a%u002Fb",
          "/v1/keys/%FF", "/v1/keys/..", "/v1/keys/%2E%2e", "/v1/./keys", "/v1/keys/\xFF", "",
          "v1/keys", "*"}) {
        SCOPED_TRACE(path);
        EXPECT_ERROR(invalid_argument, table.match(Method::GET, path));
    }
}

TEST(RouteTable, UnknownPathIsNotFound) {
    const auto table = key_routes();
    for (const auto* path :
         {"/", "/v1", "/v1/keys/", "/v1//keys", "/healthz/", "/V1/keys", "/v1/keys/a/b/c/d",
          "/v1/keys/a/", "/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7/8/9"}) {
        SCOPED_TRACE(path);
        EXPECT_ERROR(not_found, table.match(Method::GET, path));
    }
}

TEST(RouteTable, KnownPathWithAnotherMethodIsNotAllowed) {
    const auto table = key_routes();
    EXPECT_ERROR(method_not_allowed, table.match(Method::DELETE, "/v1/keys"));
    EXPECT_EQ(table.allowed_methods("/v1/keys"), "GET, POST");
    EXPECT_EQ(table.allowed_methods("/v2"), "");
}

TEST(RouteTable, AmbiguousOrMalformedRowsAreRefused) {
    EXPECT_ERROR(internal, RouteTable({row(Method::GET, "/a/{x}"), row(Method::GET, "/a/{x}")}));
    EXPECT_ERROR(internal, RouteTable({row(Method::GET, "/a/{x}"), row(Method::GET, "/a/{y}")}));
    EXPECT_ERROR(internal, RouteTable({row(Method::GET, "/a/{x}"), row(Method::PUT, "/a/{y}")}));
    auto joint = row(Method::PUT, "/a");
    joint.together = [](std::span<server::JointCall>) {};
    EXPECT_NO_THROW(RouteTable({joint}));
    EXPECT_ERROR(internal, RouteTable({server::changing(joint)}));
    for (const auto* pattern :
         {"", "a", "/", "/a/", "/a//b", "/{", "/{}", "/{X}", "/a{x}", "/{x}/{x}", "/a%20"}) {
        SCOPED_TRACE(pattern);
        EXPECT_ERROR(internal, RouteTable({row(Method::GET, pattern)}));
    }
}

TEST(Request, MethodsAreTheirWords) {
    EXPECT_EQ(server::parse_method("PATCH"), Method::PATCH);
    EXPECT_EQ(server::to_string(Method::DELETE), "DELETE");
    EXPECT_FALSE(server::parse_method("get"));
    EXPECT_FALSE(server::parse_method("CONNECT"));
}

TEST(Request, HeadersAndPathParameters) {
    server::Request request;
    request.headers["content-type"] = "application/json";
    request.path_parameters["key"] = "k";
    EXPECT_EQ(request.header("content-type"), "application/json");
    EXPECT_EQ(request.header("accept"), "");
    EXPECT_EQ(request.path_parameter("key"), "k");
    EXPECT_ERROR(internal, request.path_parameter("alias"));
}

TEST(Request, QueryIsDecoded) {
    server::Request request;
    EXPECT_TRUE(request.query_parameters().empty());
    request.query = "limit=5&cursor=a%2Fb%3D&empty=&plus=1+1";
    EXPECT_EQ(request.query_parameters(),
              (std::map<std::string, std::string>{
                  {"limit", "5"}, {"cursor", "a/b="}, {"empty", ""}, {"plus", "1+1"}}));
}

TEST(Request, MalformedOrRepeatedQueryIsRefused) {
    for (const auto* query :
         {"a", "=1", "a=%", "a=%0", "a=%00", "a=1&&b=2", "a=1&a=2", "a=1&%61=2", "&", "a=%FF"}) {
        server::Request request;
        request.query = query;
        SCOPED_TRACE(query);
        EXPECT_ERROR_SAYING(invalid_argument, "query", request.query_parameters());
    }
    server::Request many;
    for (int i = 0; i < 33; ++i) many.query += (i == 0 ? "p" : "&p") + std::to_string(i) + "=1";
    EXPECT_ERROR(invalid_argument, many.query_parameters());
}

TEST(Request, WhatIsNoNameOfOursIsNotSaidBack) {
    for (const std::string& secret : {std::string(43, 's'), std::string("two%20words"),
                                      "srt_0123456789abcdef_" + std::string(43, 'x')}) {
        server::Request request;
        request.query = secret + "=1&" + secret + "=2";
        for (const auto& ask : {std::function<void()>([&] { request.query_parameters(); }),
                                std::function<void()>([&] { server::refuse_query(request); })}) {
            try {
                ask();
                ADD_FAILURE() << "nothing was refused";
            } catch (const base::Error& error) {
                EXPECT_EQ(error.code(), base::ErrorCode::invalid_argument);
                EXPECT_EQ(error.message(), "the query has a parameter whose name is not known");
            }
        }
    }
}

TEST(Request, QueryWhereNoneIsKnownIsRefusedByName) {
    server::Request request;
    EXPECT_NO_THROW(server::refuse_query(request));
    request.query = "verbose=1";
    EXPECT_ERROR_SAYING(invalid_argument, "\"verbose\" in the query",
                        server::refuse_query(request));
    request.query = "verbose";
    EXPECT_ERROR(invalid_argument, server::refuse_query(request));
}

TEST(Answer, EveryCodeHasItsStatus) {
    using base::ErrorCode;
    const std::map<ErrorCode, unsigned> table = {{ErrorCode::invalid_argument, 400},
                                                 {ErrorCode::unauthenticated, 401},
                                                 {ErrorCode::permission_denied, 403},
                                                 {ErrorCode::not_found, 404},
                                                 {ErrorCode::already_exists, 409},
                                                 {ErrorCode::failed_precondition, 409},
                                                 {ErrorCode::integrity_failure, 422},
                                                 {ErrorCode::resource_exhausted, 429},
                                                 {ErrorCode::unavailable, 503},
                                                 {ErrorCode::internal, 500},
                                                 {ErrorCode::method_not_allowed, 405},
                                                 {ErrorCode::request_timeout, 408},
                                                 {ErrorCode::payload_too_large, 413},
                                                 {ErrorCode::unsupported_media_type, 415},
                                                 {ErrorCode::header_fields_too_large, 431}};
    for (const auto& [code, status] : table)
        EXPECT_EQ(server::http_status(code), status) << base::to_string(code);
}

TEST(Answer, ErrorShowsMessageAndRequestButNoDetail) {
    const auto id = base::Uuid::random();
    const auto answer = server::error_answer(
        base::Error(base::ErrorCode::unavailable, "try again", "CKR_DEVICE_ERROR in /x"), id);
    EXPECT_EQ(answer.status, 503U);
    EXPECT_EQ(std::string(answer.body),
              R"({"error":{"code":"unavailable","message":"try again","request_id":")" +
                  id.to_string() + "\"}}");
    EXPECT_EQ(answer.headers,
              (std::vector<std::pair<std::string, std::string>>{{"Retry-After", "1"}}));
    EXPECT_TRUE(
        server::error_answer(base::Error(base::ErrorCode::not_found, "no"), id).headers.empty());
    EXPECT_EQ(server::error_answer(base::Error(base::ErrorCode::resource_exhausted, "no"), id)
                  .headers.size(),
              1U);
}

TEST(Answer, JsonAnswerTakesTheBody) {
    base::JsonWriter body;
    body.begin_object().field("a", "b").end_object();
    const auto answer = server::json_answer(std::move(body), 201);
    EXPECT_EQ(answer.status, 201U);
    EXPECT_EQ(answer.content_type, "application/json");
    EXPECT_EQ(std::string(answer.body), R"({"a":"b"})");
}

TEST(Identity, FirstUriNameIsTheCaller) {
    server::Request request;
    request.peer_address = "::1";
    request.certificate = std::make_shared<const server::PeerCertificate>(
        server::PeerCertificate{"CN=app", {"spiffe://strongroom/app", "https://b"}, "f1"});
    const auto caller = server::Authenticator().connected(request);
    EXPECT_EQ(caller.id, "spiffe://strongroom/app");
    EXPECT_EQ(caller.address, "::1");
    EXPECT_EQ(to_string(caller.method), "client_certificate");
    EXPECT_EQ(caller.claims.at("certificate_sha256"), std::vector<std::string>{"f1"});
    EXPECT_EQ(caller.claims.at("subject"), std::vector<std::string>{"CN=app"});
}

TEST(Identity, MethodsAreTheWordsOfPoliciesAndRecords) {
    for (const std::string_view word :
         {"none", "client_certificate", "api_token", "jwt", "introspection", "shared_secret"}) {
        const auto method = server::parse_authentication_method(word);
        ASSERT_TRUE(method) << word;
        EXPECT_EQ(to_string(*method), word);
    }
    EXPECT_FALSE(server::parse_authentication_method("password"));
}

TEST(Identity, SubjectIsTheCallerWithoutUriName) {
    server::Request request;
    request.certificate = std::make_shared<const server::PeerCertificate>(
        server::PeerCertificate{"CN=app,O=x", {}, ""});
    EXPECT_EQ(server::Authenticator().connected(request).id, "CN=app,O=x");
}

TEST(Identity, NobodyWithoutASoundName) {
    server::Request request;
    EXPECT_TRUE(server::Authenticator().connected(request).is_nobody());
    for (const std::string& name :
         {std::string(), std::string("spiffe://a\0b", 12), std::string("a\nb"), std::string("\xFF"),
          std::string(3000, 'a')}) {
        request.certificate = std::make_shared<const server::PeerCertificate>(
            server::PeerCertificate{"CN=app", {name}, ""});
        EXPECT_TRUE(server::Authenticator().connected(request).is_nobody());
        EXPECT_TRUE(server::Authenticator().connected(request).id.empty());
    }
}

constexpr std::string_view small_policy = R"({"version":1,
  "roles":{"user":[{"id":"use","effect":"allow","actions":["use"],"resources":["key:k1"]}]},
  "bindings":[{"caller":"app","roles":["user"]}]})";

server::Operation operation_by(std::string id) {
    server::Caller caller;
    if (!id.empty()) caller.method = server::AuthenticationMethod::client_certificate;
    caller.id = std::move(id);
    return {base::Uuid::random(), base::Time(), caller};
}

server::Resource the_key(std::string id) {
    server::Resource resource;
    resource.kind = "key";
    resource.id = std::move(id);
    return resource;
}

// Nobody but the authorizer makes a grant.
static_assert(!std::is_constructible_v<server::Grant, const server::Caller&, server::Action,
                                       server::Resource, server::Decision>);
static_assert(!std::is_default_constructible_v<server::Grant>);

TEST(Authorizer, GrantNamesWhatWasAllowed) {
    const server::Authorizer authorizer(server::parse_policy(small_policy, {"use"}));
    auto operation = operation_by("app");
    const auto grant = authorizer.authorize(operation, {"use"}, the_key("k1"), {{"a", "b"}});
    EXPECT_EQ(grant.caller().id, "app");
    EXPECT_EQ(grant.action().word, "use");
    EXPECT_EQ(grant.resource().id, "k1");
    EXPECT_EQ(grant.decision().rule, "use");
    ASSERT_EQ(operation.decided().size(), 1U);
    EXPECT_EQ(operation.decided()[0].action, "use");
    EXPECT_EQ(operation.decided()[0].context.at("a"), "b");
    EXPECT_TRUE(operation.decided()[0].decision.allowed);
    EXPECT_EQ(operation.decided()[0].decision.policy_hash, authorizer.policy_hash());
}

TEST(Authorizer, RefusalIsPermissionDeniedNamesNoResourceAndIsNoted) {
    const server::Authorizer authorizer(server::parse_policy(small_policy, {"use"}));
    auto operation = operation_by("app");
    try {
        authorizer.authorize(operation, {"use"}, the_key("k2"));
        FAIL() << "nothing was thrown";
    } catch (const base::Error& error) {
        EXPECT_EQ(error.code(), base::ErrorCode::permission_denied);
        EXPECT_EQ(error.message().find("k2"), std::string::npos);
    }
    ASSERT_EQ(operation.decided().size(), 1U);
    EXPECT_FALSE(operation.decided()[0].decision.allowed);
    EXPECT_EQ(operation.decided()[0].decision.rule, "default-deny");
}

TEST(Authorizer, TheLogNamesTheCallerTheActionAndTheRuleThatRefused) {
    base::Log log("test", base::LogLevel::info);
    const server::Authorizer authorizer(server::parse_policy(
                                            R"({"version":1,"roles":{"r":[
                {"id":"all","effect":"allow","actions":["use"],"resources":["*"]},
                {"id":"not-this-one","effect":"deny","actions":["use"],"resources":["key:k1"]}]},
                "bindings":[{"caller":"app","roles":["r"]}]})",
                                            {"use"}),
                                        nullptr, {nullptr, &log, nullptr});
    server::Caller caller;
    caller.id = "app";
    caller.method = server::AuthenticationMethod::client_certificate;
    server::Operation operation(base::Uuid::random(), base::Time(), caller);
    server::Resource resource;
    resource.kind = "key";
    resource.id = "k1";
    testing::internal::CaptureStderr();
    EXPECT_ERROR(permission_denied, authorizer.authorize(operation, {"use"}, resource));
    const std::string line = testing::internal::GetCapturedStderr();
    for (const std::string& part :
         {std::string(R"("caller":"app")"), std::string(R"("action":"use")"),
          std::string(R"("rule":"not-this-one")"), operation.request_id().to_string(),
          authorizer.policy_hash()}) {
        EXPECT_NE(line.find(part), std::string::npos) << part << " in " << line;
    }
}

TEST(Authorizer, NobodyIsUnauthenticatedAndNoted) {
    const server::Authorizer authorizer(server::parse_policy(small_policy, {"use"}));
    auto operation = operation_by("");
    EXPECT_ERROR(unauthenticated, authorizer.authorize(operation, {"use"}, the_key("k1")));
    EXPECT_FALSE(authorizer.would_allow(operation, {"use"}, the_key("k1")));
    EXPECT_EQ(operation.decided().size(), 2U);
}

TEST(Authorizer, QuestionsAreAnswersNotErrors) {
    const server::Authorizer authorizer(server::parse_policy(small_policy, {"use"}));
    auto operation = operation_by("app");
    EXPECT_TRUE(authorizer.would_allow(operation, {"use"}, the_key("k1")));
    EXPECT_FALSE(authorizer.would_allow(operation, {"use"}, the_key("k2")));
    EXPECT_EQ(operation.decided().size(), 2U);
    EXPECT_TRUE(authorizer.may_ever(operation, {"use"}));
    EXPECT_FALSE(authorizer.may_ever(operation, {"other"}));
    EXPECT_EQ(operation.decided().size(), 2U);
}

TEST(Authorizer, PolicyIsReplacedWhileOthersAsk) {
    server::Authorizer authorizer(server::parse_policy(small_policy, {"use"}));
    const auto other = server::parse_policy(R"({"version":1,"roles":{},"bindings":[]})", {});
    const std::string before = authorizer.policy_hash();
    std::thread asking([&authorizer] {
        for (int i = 0; i < 2000; ++i) {
            auto operation = operation_by("app");
            authorizer.would_allow(operation, {"use"}, the_key("k1"));
        }
    });
    for (int i = 0; i < 100; ++i) authorizer.replace(other);
    asking.join();
    EXPECT_NE(authorizer.policy_hash(), before);
    auto operation = operation_by("app");
    EXPECT_ERROR(permission_denied, authorizer.authorize(operation, {"use"}, the_key("k1")));
}

TEST(OpenApi, DocumentHasEveryRouteAndNoOther) {
    const auto table = key_routes();
    const auto writer = server::openapi_document(table, "kmsd", "1.2");
    const auto document = base::parse_json(writer.text());
    EXPECT_EQ(*document.find("openapi")->string(), "3.1.0");
    EXPECT_EQ(*document.find("info")->find("title")->string(), "kmsd");
    std::size_t operations = 0;
    for (const auto& path : *document.find("paths")->object())
        operations += path.value.object()->size();
    EXPECT_EQ(operations, table.routes().size());
    for (const auto& route : table.routes()) {
        std::string method(to_string(route.method));
        for (char& c : method) c = static_cast<char>(c - 'A' + 'a');
        const auto* path = document.find("paths")->find(route.pattern);
        ASSERT_NE(path, nullptr) << route.pattern;
        const auto* operation = path->find(method);
        ASSERT_NE(operation, nullptr) << route.pattern;
        EXPECT_EQ(*operation->find("summary")->string(), route.summary);
        EXPECT_EQ(operation->find("requestBody") != nullptr, route.max_body_bytes != 0);
        EXPECT_EQ(operation->find("security") != nullptr, route.access == Access::open);
    }
    const auto* parameters =
        document.find("paths")->find("/v1/keys/{key}/data-keys")->find("post")->find("parameters");
    ASSERT_EQ(parameters->array()->size(), 1U);
    EXPECT_EQ(*parameters->array()->front().find("name")->string(), "key");
}

TEST(OpenApi, OperationIdsAreUnique) {
    const auto writer = server::openapi_document(key_routes(), "kmsd", "1");
    const auto document = base::parse_json(writer.text());
    std::set<std::string> ids;
    for (const auto& path : *document.find("paths")->object()) {
        for (const auto& operation : *path.value.object()) {
            EXPECT_TRUE(ids.emplace(*operation.value.find("operationId")->string()).second);
        }
    }
    EXPECT_EQ(ids.size(), 7U);
}

TEST(Metrics, TextHasWhatWasCounted) {
    server::Metrics metrics("kmsd");
    metrics.request("unwrap_data_key", 200, std::chrono::milliseconds(3));
    metrics.request("unwrap_data_key", 200, std::chrono::milliseconds(3));
    metrics.request("unwrap_data_key", 403, std::chrono::milliseconds(3));
    metrics.count("audit_records", 5);
    metrics.gauge("connections", 7);
    const std::string text = metrics.text();
    const auto has = [&text](std::string_view line) {
        return text.find(line) != std::string::npos;
    };
    EXPECT_TRUE(
        has(R"(strongroom_requests_total{daemon="kmsd",action="unwrap_data_key",status="200"} 2)"))
        << text;
    EXPECT_TRUE(
        has(R"(strongroom_requests_total{daemon="kmsd",action="unwrap_data_key",status="403"} 1)"));
    EXPECT_TRUE(
        has(R"(strongroom_request_seconds_count{daemon="kmsd",action="unwrap_data_key"} 3)"));
    EXPECT_TRUE(has(
        R"(strongroom_request_seconds_bucket{daemon="kmsd",action="unwrap_data_key",le="0.005"} 3)"));
    EXPECT_TRUE(has(R"(strongroom_audit_records_total{daemon="kmsd"} 5)"));
    EXPECT_TRUE(has(R"(strongroom_connections{daemon="kmsd"} 7)"));
}

TEST(Metrics, NameThatPrometheusRefusesIsInternal) {
    server::Metrics metrics("kmsd");
    EXPECT_ERROR(internal, metrics.count("no name"));
    EXPECT_ERROR(internal, metrics.gauge("no-name", 1));
}

TEST(Metrics, ThreadsCountTogether) {
    server::Metrics metrics("kmsd");
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&metrics, t] {
            for (int i = 0; i < 1000; ++i) {
                metrics.request("a", 200 + static_cast<unsigned>(i % 3),
                                std::chrono::microseconds(t));
                metrics.count("things");
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_NE(metrics.text().find("strongroom_things_total{daemon=\"kmsd\"} 4000"),
              std::string::npos);
    EXPECT_NE(
        metrics.text().find("strongroom_request_seconds_count{daemon=\"kmsd\",action=\"a\"} 4000"),
        std::string::npos);
}

}  // namespace
