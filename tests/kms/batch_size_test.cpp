// How much goes into one call.
#include "kms/api_data.h"
#include "server/gate.h"
#include "tests/kms/data_api_fixture.h"

namespace tests {
namespace {

TEST_F(DataApi, AThousandItemsAreUnwrappedInOneCallAndOneMoreIsRefusedBeforeAnyWork) {
    const auto fresh = rig_.create_data_keys(key_->id, {{"a", "b"}}, {32, 1000, true});
    std::vector<std::string> items;
    for (const auto& one : fresh.keys) {
        items.push_back(R"({"wrapped":")" + base::to_base64(one.wrapped) +
                        R"(","context":{"a":"b"}})");
    }
    token_.decrypt_calls = 0;
    const auto answer = post("app", unwrap_, items_of(items));
    ASSERT_EQ(answer.status, 200U);
    EXPECT_EQ(token_.decrypt_calls, 1U);
    EXPECT_EQ(operation_->decided().size(), 1U);
    const auto value = parse(answer);
    ASSERT_EQ(value.find("results")->array()->size(), 1000U);
    for (std::size_t i = 0; i < 1000; ++i) {
        ASSERT_EQ(text_of(result(value, i), "plaintext"),
                  base::to_base64(fresh.keys[i].plaintext.expose()));
    }
    // One row of the record names them all.
    ASSERT_EQ(operation_->items().size(), 1U);
    EXPECT_EQ(operation_->items()[0].resource, key_->id.to_string() + "/1");
    EXPECT_EQ(operation_->items()[0].items, "0-999");
    EXPECT_EQ(operation_->items()[0].decision, 0U);

    items.push_back(items.front());
    token_.decrypt_calls = 0;
    for (const auto& path : {unwrap_, rewrap_}) {
        const auto refused = post("app", path, items_of(items));
        EXPECT_EQ(refused.status, 400U);
        EXPECT_NE(refused.body.find("items"), std::string::npos);
        EXPECT_TRUE(operation_->decided().empty());
    }
    EXPECT_EQ(token_.decrypt_calls, 0U);
}

// `entries` entries of `bytes` bytes in all, keys and values together.
kms::EncryptionContext context_of(std::size_t entries, std::size_t bytes) {
    kms::EncryptionContext context;
    for (std::size_t i = 0; i < entries; ++i) {
        const std::string name = "k" + std::to_string(100 + i);
        const std::size_t share = bytes / entries + (i < bytes % entries ? 1 : 0);
        context[name] = std::string(share - name.size(), 'v');
    }
    return context;
}

// The figures are the README's and the OpenAPI document's.
TEST_F(DataApi, TheBodyOfABatchHasRoomForWhatTheDocumentsSay) {
    const auto batch = [&](std::size_t count, const kms::EncryptionContext& context) {
        const auto fresh = rig_.create_data_keys(key_->id, context, {64, count, true});
        base::JsonWriter written;
        written.begin_object().field("context", context).end_object();
        const std::string member(written.text().substr(1));  // without the '{'
        std::vector<std::string> items;
        for (const auto& one : fresh.keys) {
            items.push_back(R"({"wrapped":")" + base::to_base64(one.wrapped) + "\"," + member);
        }
        return items_of(items);
    };
    const auto opened = [&](const std::string& body) {
        const auto answer = post("app", unwrap_, body);
        EXPECT_EQ(answer.status, 200U) << answer.body.substr(0, 200);
        if (answer.status != 200) return std::size_t{0};
        const auto parsed = parse(answer);
        std::size_t count = 0;
        for (const auto& each : *parsed.find("results")->array()) {
            count += each.find("plaintext") != nullptr ? 1U : 0U;
        }
        return count;
    };
    const auto largest = context_of(kms::max_context_entries, kms::max_context_bytes);
    const std::string thousand = batch(1000, largest);
    EXPECT_LE(thousand.size(), kms::max_batch_body_bytes);
    EXPECT_EQ(opened(thousand), 1000U);
    // A rewrap of each to another context of that size, by the longest name of a key.
    rig_.create_key(std::string(64, 'n'));
    auto other = largest;
    other.begin()->second.back() = 'w';
    base::JsonWriter target;
    target.begin_object().field("to_key", "alias/" + std::string(64, 'n'));
    target.field("to_context", other).end_object();
    const std::string more = "}," + std::string(target.text().substr(1));
    std::string rewraps = thousand;
    for (std::size_t at = 0; (at = rewraps.find("}}", at)) != std::string::npos;) {
        rewraps.replace(at, 2, more);
        at += more.size();
    }
    EXPECT_GT(rewraps.size(), 17'000'000U);
    EXPECT_LE(rewraps.size(), kms::max_batch_body_bytes);
    const auto moved = post("root", rewrap_, rewraps);
    ASSERT_EQ(moved.status, 200U) << moved.body.substr(0, 200);
    const auto results = parse(moved);
    std::size_t count = 0;
    for (const auto& each : *results.find("results")->array()) {
        count += each.find("wrapped") != nullptr ? 1U : 0U;
    }
    EXPECT_EQ(count, 1000U);
    EXPECT_EQ(operation_->decided().size(), 2U) << "one pass for each key and context";
    EXPECT_EQ(operation_->items().size(), 1U);

    // More than that is refused as a whole, before anybody is asked for anything.
    const std::string too_much =
        thousand.substr(0, thousand.size() - 1) + std::string(kms::max_batch_body_bytes, ' ') + "}";
    for (const auto& [path, caller] : {std::pair(unwrap_, "app"), std::pair(rewrap_, "root")}) {
        token_.decrypt_calls = 0;
        const auto refused = post(caller, path, too_much);
        EXPECT_EQ(refused.status, 400U) << refused.body.substr(0, 200);
        EXPECT_EQ(token_.decrypt_calls, 0U);
        EXPECT_TRUE(operation_->decided().empty());
        EXPECT_TRUE(operation_->records().empty());
    }
    for (const auto& route : rig_.routes.routes()) {
        const bool is_batch = route.pattern == unwrap_ || route.pattern == rewrap_;
        EXPECT_LE(route.max_body_bytes,
                  is_batch ? kms::max_batch_body_bytes : server::ordinary_body_bytes)
            << "what the edge takes of everybody: " << route.pattern;
    }
    const auto document = get("root", "/openapi.json");
    for (const auto* figure : {"18 MiB", "1,000 items", "96 MiB"}) {
        EXPECT_NE(document.body.find(figure), std::string::npos) << figure;
    }
}

// What a body says takes many times its room in memory: who may use no key has none of it read.
// Each costs a tree's worth of memory before anybody can count the items.
TEST_F(DataApi, ABatchOfMoreValuesThanItCanHaveIsRefusedWhileItIsRead) {
    std::string zeros(2 * kms::max_batch_values, '0');
    for (std::size_t at = 1; at < zeros.size(); at += 2) zeros[at] = ',';
    zeros.pop_back();
    for (const std::string& path : {unwrap_, rewrap_}) {
        const auto answer = post("app", path, "{\"items\":[" + zeros + "]}");
        EXPECT_EQ(answer.status, 400U) << path;
        EXPECT_NE(answer.body.find("more than"), std::string::npos) << answer.body;
    }
}

TEST_F(DataApi, TheBodyOfABatchIsReadForCallersWithARightToAnyKeyOnly) {
    for (const std::string& path : {unwrap_, rewrap_}) {
        for (const auto& [caller, status] : {std::pair("operator", 403U), std::pair("app", 400U)}) {
            EXPECT_EQ(post(caller, path, "{").status, status) << caller << path;
        }
    }
}

}  // namespace
}  // namespace tests
