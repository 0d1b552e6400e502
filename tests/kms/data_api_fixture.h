// Calls on data keys, one or many, under keys of which "app" may use two and not the third.
#pragma once

#include "tests/kms/api_fixture.h"

namespace tests {

class DataApi : public ApiFixture {
protected:
    static const base::JsonValue& result(const base::JsonValue& answer, std::size_t i) {
        return answer.find("results")->array()->at(i);
    }
    static std::string code_at(const base::JsonValue& answer, std::size_t i) {
        const auto* error = result(answer, i).find("error");
        return error == nullptr ? "" : text_of(*error, "code");
    }
    static std::string items_of(const std::vector<std::string>& items) {
        std::string body = R"({"items":[)";
        for (const auto& item : items) body += item + ",";
        body.back() = ']';
        return body + "}";
    }
    kms::KeyPointer key_ = rig_.create_key("credentials");
    kms::KeyPointer second_ = rig_.create_key("second");
    kms::KeyPointer hidden_ = rig_.create_key("hidden");
    const std::string unwrap_ = "/v1/data-keys/unwrap";
    const std::string rewrap_ = "/v1/data-keys/rewrap";
};

}  // namespace tests
