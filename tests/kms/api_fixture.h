// Calls on the native dialect, as the gate makes them.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/encoding.h"
#include "tests/kms/key_service_rig.h"
#include "tests/support/fake_token.h"
#include "tests/support/route_calls.h"

namespace tests {

class ApiFixture : public testing::Test {
protected:
    // The operation stays for looking at.
    server::Response call(const std::string& caller, server::Method method, const std::string& path,
                          std::string_view body = {}, const std::string& query = {}) {
        operation_ = std::make_unique<server::Operation>(operation_of(caller));
        server::Request request;
        request.method = method;
        request.path = path;
        request.query = query;
        request.body = body;
        if (!body.empty()) request.headers["content-type"] = "application/json";
        return call_route(rig_.routes, *operation_, std::move(request));
    }
    server::Response post(const std::string& caller, const std::string& path,
                          std::string_view body) {
        return call(caller, server::Method::POST, path, body);
    }
    server::Response get(const std::string& caller, const std::string& path,
                         const std::string& query = {}) {
        return call(caller, server::Method::GET, path, {}, query);
    }

    static base::JsonValue parse(const server::Response& response) { return json_of(response); }
    static std::string text_of(const base::JsonValue& value, std::string_view name) {
        return text_in(value, name);
    }
    static std::string code_of(const server::Response& response) {
        const auto value = parse(response);
        const auto* error = value.find("error");
        return error == nullptr ? "" : text_of(*error, "code");
    }
    // A wrapped data key in base64, made by a caller with every right.
    std::string wrap(const base::Uuid& key, const kms::EncryptionContext& context = {}) {
        return base::to_base64(rig_.create_data_keys(key, context).keys[0].wrapped);
    }
    void expect_refused(const std::string& path, std::string_view body, std::string_view naming) {
        const auto response = post("root", path, body);
        EXPECT_EQ(response.status, 400U) << body;
        EXPECT_NE(response.body.find(naming), std::string::npos) << body << '\n' << response.body;
    }

    TemporaryDirectory folder_;
    FakeToken token_;
    KeyServiceRig rig_{token_, folder_.path()};
    std::unique_ptr<server::Operation> operation_;
};

}  // namespace tests
