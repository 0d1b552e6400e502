#include "kms/states.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/encoding.h"
#include "tests/kms/api_calls.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_token.h"

namespace tests {
namespace {

using kms::KeyOperation;
using kms::KeyState;
using kms::Permission;

std::string word_of(Permission permission) {
    if (permission == Permission::with_right) return "right";
    return permission == Permission::yes ? "yes" : "no";
}

// "| `wrap` | no | yes | …" to {"`wrap`", "no", "yes", …}.
std::vector<std::string> cells_of(const std::string& line) {
    std::vector<std::string> cells;
    std::istringstream text(line);
    std::string cell;
    std::getline(text, cell, '|');
    while (std::getline(text, cell, '|')) {
        const auto first = cell.find_first_not_of(' ');
        if (first == std::string::npos) continue;
        cells.push_back(cell.substr(first, cell.find_last_not_of(' ') - first + 1));
    }
    return cells;
}

TEST(KeyStates, TheReadmeHasTheTableOfTheCode) {
    std::ifstream readme(KMS_README);
    ASSERT_TRUE(readme) << KMS_README;
    std::map<std::string, std::vector<std::string>> rows;
    for (std::string line; std::getline(readme, line);) {
        if (line.rfind("| ", 0) != 0) continue;
        auto cells = cells_of(line);
        if (cells.size() == kms::key_states.size() + 1) rows[cells.front()] = cells;
    }
    const auto& head = rows["operation"];
    ASSERT_EQ(head.size(), kms::key_states.size() + 1);
    for (std::size_t i = 0; i < kms::key_states.size(); ++i) {
        EXPECT_EQ(head[i + 1], kms::to_string(kms::key_states[i]));
    }
    EXPECT_EQ(rows.size(), kms::key_operations.size() + 1);
    for (const auto operation : kms::key_operations) {
        const auto& row = rows["`" + std::string(kms::to_string(operation)) + "`"];
        ASSERT_EQ(row.size(), kms::key_states.size() + 1) << kms::to_string(operation);
        for (std::size_t i = 0; i < kms::key_states.size(); ++i) {
            EXPECT_EQ(row[i + 1], word_of(kms::permission(kms::key_states[i], operation)))
                << kms::to_string(operation) << " in " << kms::to_string(kms::key_states[i]);
        }
    }
}

TEST(KeyStates, ARefusalSaysTheStateAndWhatPermitsIt) {
    kms::Key key;
    key.state = KeyState::disabled;
    EXPECT_ERROR_SAYING(failed_precondition,
                        "the key is in state disabled, which forbids wrap; it is permitted in "
                        "state enabled",
                        kms::require_permitted(key, KeyOperation::wrap));
    key.state = KeyState::destroyed;
    EXPECT_ERROR_SAYING(failed_precondition, "enabled, disabled or compromised",
                        kms::require_permitted(key, KeyOperation::change));
    key.state = KeyState::compromised;
    EXPECT_ERROR_SAYING(failed_precondition, "or with the right use_compromised_key",
                        kms::require_permitted(key, KeyOperation::unwrap));
    EXPECT_NO_THROW(kms::require_permitted(key, KeyOperation::unwrap, true));
    EXPECT_ERROR(failed_precondition, kms::require_permitted(key, KeyOperation::wrap, true));
}

TEST(KeyStates, OnlyAnEnabledVersionOfAnEnabledKeyWorks) {
    kms::Key key;
    key.state = KeyState::enabled;
    kms::KeyVersion version;
    version.version = 7;
    for (const auto state : {KeyState::pending, KeyState::destroyed}) {
        version.state = state;
        EXPECT_ERROR_SAYING(failed_precondition,
                            "version 7 of the key is in state " +
                                std::string(kms::to_string(state)) +
                                ", which forbids unwrap; it is permitted for a version in state "
                                "enabled",
                            kms::require_permitted(key, version, KeyOperation::unwrap));
    }
    version.state = KeyState::enabled;
    EXPECT_NO_THROW(kms::require_permitted(key, version, KeyOperation::unwrap));
}

// Every cell, asked over the API: what the table permits is done, what it forbids is 409 and says
// the state.
class StateCells : public testing::Test {
protected:
    struct Call {
        server::Method method;
        std::string path;  // behind the key
        std::string body;
    };

    server::Response send(const std::string& caller, server::Method method, const std::string& path,
                          std::string_view body) {
        return send_as(rig_, caller, method, path, body);
    }

    hsm::KeyKind kind_for(KeyOperation operation) const {
        switch (operation) {
            case KeyOperation::sign:
            case KeyOperation::verify:
            case KeyOperation::public_key:
                return hsm::KeyKind::ecdsa_p256;
            case KeyOperation::mac:
            case KeyOperation::verify_mac:
                return hsm::KeyKind::hmac_sha_256;
            default:
                return hsm::KeyKind::aes_256;
        }
    }

    base::Uuid make_key(hsm::KeyKind kind) {
        auto operation = operation_of("root");
        kms::NewKey wanted;
        wanted.kind = kind;
        return rig_.lifecycle.create(rig_.grant(operation, kms::create_key, "*"), wanted).key->id;
    }

    // The store's record and the catalogue's, by the ways there are.
    void bring_into(const base::Uuid& id, KeyState state) {
        kms::Key key = *rig_.store.find(id);
        key.state = state;
        if (state == KeyState::pending_deletion) key.deletion_at = rig_.clock.now();
        if (state == KeyState::compromised) key.compromised_at = rig_.clock.now();
        ASSERT_TRUE(rig_.store.update(key));
        rig_.catalogue.put(*rig_.store.find(id));
    }

    std::string made_before(KeyOperation operation, const std::string& key) {
        using server::Method;
        const auto post = [&](const std::string& path, std::string_view body) {
            const auto response = send("root", Method::POST, key + path, body);
            EXPECT_EQ(response.status, 200U) << path << ' ' << response.body;
            return response;
        };
        switch (operation) {
            case KeyOperation::unwrap:
            case KeyOperation::rewrap_from: {
                const auto response = post("/data-keys", "{}");
                const auto value = json_of(response);
                return std::string(
                    *value.find("data_keys")->array()->front().find("wrapped")->string());
            }
            case KeyOperation::decrypt:
                return text_in(json_of(post("/encrypt", R"({"plaintext":"aGVsbG8="})")),
                               "ciphertext");
            case KeyOperation::verify:
                return text_in(json_of(post("/sign", R"({"message":"aGVsbG8="})")), "signature");
            case KeyOperation::verify_mac:
                return text_in(json_of(post("/mac", R"({"message":"aGVsbG8="})")), "mac");
            default:
                return {};
        }
    }

    Call call_for(KeyOperation operation, const base::Uuid& id, const std::string& made) {
        using server::Method;
        const std::string key = "/v1/keys/" + id.to_string();
        const auto revision = std::to_string(rig_.store.find(id)->revision);
        switch (operation) {
            case KeyOperation::describe:
                return {Method::GET, key, ""};
            case KeyOperation::wrap:
                return {Method::POST, key + "/data-keys", "{}"};
            case KeyOperation::unwrap:
                return {Method::POST, "/v1/data-keys/unwrap", R"({"wrapped":")" + made + "\"}"};
            case KeyOperation::rewrap_from:
                return {Method::POST, "/v1/data-keys/rewrap",
                        R"({"wrapped":")" + made + R"(","to_key":")" + other_.to_string() + "\"}"};
            case KeyOperation::rewrap_to:
                return {Method::POST, "/v1/data-keys/rewrap",
                        R"({"wrapped":")" + other_wrapped_ + R"(","to_key":")" + id.to_string() +
                            "\"}"};
            case KeyOperation::encrypt:
                return {Method::POST, key + "/encrypt", R"({"plaintext":"aGVsbG8="})"};
            case KeyOperation::decrypt:
                return {Method::POST, "/v1/decrypt", R"({"ciphertext":")" + made + "\"}"};
            case KeyOperation::sign:
                return {Method::POST, key + "/sign", R"({"message":"aGVsbG8="})"};
            case KeyOperation::verify:
                return {Method::POST, key + "/verify",
                        R"({"message":"aGVsbG8=","signature":")" + made + "\"}"};
            case KeyOperation::public_key:
                return {Method::GET, key + "/public-key", ""};
            case KeyOperation::mac:
                return {Method::POST, key + "/mac", R"({"message":"aGVsbG8="})"};
            case KeyOperation::verify_mac:
                return {Method::POST, key + "/verify-mac",
                        R"({"message":"aGVsbG8=","mac":")" + made + "\"}"};
            case KeyOperation::rotate:
                return {Method::POST, key + "/rotate", ""};
            case KeyOperation::change:
                return {Method::PATCH, key,
                        R"({"if_revision":)" + revision +
                            R"(,"description":"d","tags":{"t":"new"},"rotation_period_days":9,)"
                            R"("context_rule":{"required":["tenant"]}})"};
            case KeyOperation::add_alias:
                return {Method::PUT, std::string("/v1/aliases/") + alias_of_cells,
                        R"({"key":")" + id.to_string() + "\"}"};
            case KeyOperation::enable:
                return {Method::POST, key + "/enable", ""};
            case KeyOperation::disable:
                return {Method::POST, key + "/disable", ""};
            case KeyOperation::schedule_deletion:
                return {Method::POST, key + "/schedule-deletion", ""};
            case KeyOperation::cancel_deletion:
                return {Method::POST, key + "/cancel-deletion", ""};
            case KeyOperation::mark_compromised:
                return {Method::POST, key + "/mark-compromised", ""};
        }
        return {};
    }

    void expect_cell(KeyState state, KeyOperation operation) {
        const std::string cell =
            std::string(kms::to_string(operation)) + " in " + std::string(kms::to_string(state));
        const base::Uuid id = make_key(kind_for(operation));
        const std::string made = made_before(operation, "/v1/keys/" + id.to_string());
        bring_into(id, state);
        const Call call = call_for(operation, id, made);
        const Permission expected = kms::permission(state, operation);
        // "unprivileged" may do everything but use a compromised key.
        const auto before = rig_.store.find(id);
        const auto objects = token_.list_keys(nullptr).size();
        const auto plain = send("unprivileged", call.method, call.path, call.body);
        expect_alike_in_a_batch(operation, call, plain);
        if (expected == Permission::yes) {
            EXPECT_EQ(plain.status, 200U) << cell << ": " << plain.body;
            expect_done(operation, *before, plain, cell);
            return;
        }
        EXPECT_EQ(plain.status, 409U) << cell << ": " << plain.body;
        EXPECT_NE(plain.body.find("in state " + std::string(kms::to_string(state))),
                  std::string::npos)
            << cell << ": " << plain.body;
        const auto permitted_in = plain.body.find("permitted in state");
        ASSERT_NE(permitted_in, std::string::npos) << cell << ": " << plain.body;
        for (const auto other : kms::key_states) {
            if (!kms::permits(other, operation)) continue;
            EXPECT_NE(plain.body.find(kms::to_string(other), permitted_in), std::string::npos)
                << cell << ": " << plain.body;
        }
        EXPECT_EQ(rig_.store.find(id)->change, before->change)
            << cell << ": a refusal changed the key";
        EXPECT_EQ(token_.list_keys(nullptr).size(), objects) << cell;
        const auto privileged = send("root", call.method, call.path, call.body);
        EXPECT_EQ(privileged.status, expected == Permission::with_right ? 200U : 409U)
            << cell << ": " << privileged.body;
        if (expected == Permission::with_right) expect_done(operation, *before, privileged, cell);
    }

    // What unwraps and rewraps alone has the same result as the item of a batch.
    void expect_alike_in_a_batch(KeyOperation operation, const Call& call,
                                 const server::Response& alone) {
        if (operation != KeyOperation::unwrap && operation != KeyOperation::rewrap_from &&
            operation != KeyOperation::rewrap_to) {
            return;
        }
        const auto answer =
            send("unprivileged", call.method, call.path, R"({"items":[)" + call.body + "]}");
        ASSERT_EQ(answer.status, 200U) << answer.body;
        const auto value = json_of(answer);
        const auto& result = value.find("results")->array()->front();
        const auto* error = result.find("error");
        ASSERT_EQ(error == nullptr, alone.status == 200U) << answer.body;
        if (error == nullptr) return;
        EXPECT_EQ(text_in(*error, "code"), "failed_precondition");
        EXPECT_EQ(text_in(*error, "message"), text_in(*json_of(alone).find("error"), "message"));
    }

    // The answer is not all: what was ordered has come to pass, and nothing else.
    void expect_done(KeyOperation operation, kms::Key expected, const server::Response& answer,
                     const std::string& cell) {
        const KeyState before = expected.state;
        const auto seen = *rig_.store.find(expected.id);
        const auto value = json_of(answer);
        switch (operation) {
            case KeyOperation::unwrap:
            case KeyOperation::decrypt:
                EXPECT_FALSE(text_in(value, "plaintext").empty()) << cell;
                break;
            case KeyOperation::verify:
            case KeyOperation::verify_mac:
                EXPECT_NE(answer.body.find(R"("valid":true)"), std::string::npos) << cell;
                break;
            case KeyOperation::rotate:
                EXPECT_EQ(seen.primary_version, 2U) << cell;
                return;
            case KeyOperation::change:
                EXPECT_EQ(seen.description, "d") << cell;
                EXPECT_EQ(seen.tags.at("t"), "new") << cell;
                EXPECT_EQ(seen.rotation_period_days, 9) << cell;
                EXPECT_EQ(seen.context_rule.required, std::vector<std::string>{"tenant"}) << cell;
                EXPECT_EQ(seen.state, before) << cell;
                return;
            case KeyOperation::add_alias:
                EXPECT_EQ(seen.aliases, std::vector<std::string>{alias_of_cells}) << cell;
                EXPECT_EQ(seen.state, before) << cell;
                return;
            case KeyOperation::enable:
                expected.state = KeyState::enabled;
                break;
            case KeyOperation::disable:
                expected.state = KeyState::disabled;
                break;
            case KeyOperation::schedule_deletion:
                expected.state = KeyState::pending_deletion;
                break;
            case KeyOperation::cancel_deletion:
                expected.state = KeyState::disabled;
                break;
            case KeyOperation::mark_compromised:
                EXPECT_TRUE(seen.compromised_at) << cell;
                if (before != KeyState::pending_deletion) expected.state = KeyState::compromised;
                break;
            default:
                break;
        }
        EXPECT_EQ(seen.state, expected.state) << cell;
        EXPECT_EQ(seen.primary_version, 1U) << cell;
        EXPECT_TRUE(seen.aliases.empty()) << cell;
    }

    static constexpr const char* alias_of_cells = "state-cell";

    TemporaryDirectory folder_;
    FakeToken token_;
    KeyServiceRig rig_{token_, folder_.path()};
    base::Uuid other_ = rig_.create_key("other")->id;
    std::string other_wrapped_ = base::to_base64(rig_.create_data_keys(other_).keys[0].wrapped);
};

TEST_F(StateCells, EveryCellHoldsOverTheApi) {
    for (const auto state : kms::key_states) {
        for (const auto operation : kms::key_operations) {
            expect_cell(state, operation);
            send("root", server::Method::DELETE, std::string("/v1/aliases/") + alias_of_cells, "");
        }
    }
}

// One by one, so that none of them hides behind another.
TEST_F(StateCells, EachKindOfChangeGoesByTheRowOfChange) {
    for (const auto state : kms::key_states) {
        for (const std::string change :
             {R"("description":"d")", R"("tags":{"t":"new"})", R"("rotation_period_days":9)",
              R"("rotation_period_days":null)", R"("context_rule":{"required":["tenant"]})",
              R"("context_rule":null)"}) {
            const base::Uuid id = make_key(hsm::KeyKind::aes_256);
            bring_into(id, state);
            const auto before = *rig_.store.find(id);
            const std::string body =
                R"({"if_revision":)" + std::to_string(before.revision) + "," + change + "}";
            const auto answer =
                send("root", server::Method::PATCH, "/v1/keys/" + id.to_string(), body);
            const bool can = kms::permits(state, KeyOperation::change);
            EXPECT_EQ(answer.status, can ? 200U : 409U)
                << change << " in " << kms::to_string(state) << ": " << answer.body;
            EXPECT_EQ(rig_.store.find(id)->change == before.change, !can)
                << change << kms::to_string(state);
        }
    }
}

TEST_F(StateCells, AnAliasIsTakenAwayInEveryStateAlsoByGivingItToAnotherKey) {
    using server::Method;
    for (const auto state : kms::key_states) {
        const auto key = rig_.create_key("leaving");
        bring_into(key->id, state);
        const auto removed = send("root", Method::DELETE, "/v1/aliases/leaving", "");
        EXPECT_EQ(removed.status, 200U) << kms::to_string(state) << removed.body;
        EXPECT_TRUE(rig_.store.find(key->id)->aliases.empty());

        const auto from = rig_.create_key("moving");
        const auto to = rig_.create_key();
        bring_into(from->id, state);
        const auto moved = send("root", Method::PUT, "/v1/aliases/moving",
                                R"({"key":")" + to->id.to_string() + "\"}");
        EXPECT_EQ(moved.status, 200U) << kms::to_string(state) << moved.body;
        EXPECT_EQ(rig_.catalogue.snapshot()->find_alias("moving")->id, to->id);
        EXPECT_EQ(send("root", Method::DELETE, "/v1/aliases/moving", "").status, 200U);
    }
}

// Of a key in service, a version that is not: what names it, in an envelope or by number, is told
// so. Version 2 is the primary one and works on.
TEST_F(StateCells, WhatNamesAVersionThatIsNotEnabledIsRefusedOverTheApi) {
    for (const auto operation :
         {KeyOperation::unwrap, KeyOperation::rewrap_from, KeyOperation::decrypt,
          KeyOperation::verify, KeyOperation::public_key, KeyOperation::verify_mac}) {
        for (const auto state : {KeyState::pending, KeyState::destroyed}) {
            const base::Uuid id = make_key(kind_for(operation));
            const std::string path = "/v1/keys/" + id.to_string();
            const std::string made = made_before(operation, path);
            ASSERT_EQ(send("root", server::Method::POST, path + "/rotate", "").status, 200U);
            kms::Key key = *rig_.store.find(id);
            key.versions.at(0).state = state;
            rig_.catalogue.put(key);
            Call call = call_for(operation, id, made);
            std::string query;
            if (operation == KeyOperation::public_key) query = "version=1";
            if (operation == KeyOperation::verify || operation == KeyOperation::verify_mac) {
                call.body.insert(1, R"("key_version":1,)");
            }
            const auto answer =
                send_as(rig_, "unprivileged", call.method, call.path, call.body, query);
            EXPECT_EQ(answer.status, 409U) << kms::to_string(operation) << answer.body;
            EXPECT_NE(answer.body.find("version 1 of the key is in state " +
                                       std::string(kms::to_string(state)) + ", which forbids " +
                                       std::string(kms::to_string(operation))),
                      std::string::npos)
                << answer.body;
            const auto fresh = made_before(operation, path);
            const Call newer = call_for(operation, id, fresh);
            EXPECT_EQ(send("unprivileged", newer.method, newer.path, newer.body).status, 200U)
                << kms::to_string(operation);
        }
    }
}

}  // namespace
}  // namespace tests
