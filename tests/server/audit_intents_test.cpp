#include "server/audit_intents.h"

#include <gtest/gtest.h>

#include <fstream>

#include "server/authorizer.h"
#include "server/policy.h"
#include "tests/server/audit_house.h"

namespace {

using tests::chain_fault;
using tests::lines_of;
using tests::operation_of;
using tests::text_field;

class AuditIntentsTest : public tests::AuditLogTest {
protected:
    // As a process that is killed between the intent and the result leaves it: the log is closed,
    // and no result was given to it.
    static server::Operation intend(server::AuditLog& log, const std::string& key_id) {
        server::Operation operation = operation_of("operator", {"create_key"});
        operation.set_fact("key_id", key_id);
        log.append_and_wait(operation, {"intent", "", 0});
        return operation;
    }
    std::vector<server::UnfinishedIntent> unfinished() const {
        return server::unfinished_intents(folder_ / "audit");
    }
    static bool has(const std::string& line, const std::string& text) {
        return line.find(text) != std::string::npos;
    }
};

TEST_F(AuditIntentsTest, WhatItWasAboutIsNamedWithItsOwner) {
    {
        const auto log = open();
        constexpr server::Action store{"store_credential"};
        const server::Authorizer authorizer(server::parse_policy(
            R"({"version":1,"roles":{"all":[{"id":"all","effect":"allow","actions":["*"],"resources":["*"]}]},
                "bindings":[{"caller":"operator","roles":["all"]}]})",
            {store.word}));
        server::Operation operation = operation_of("operator", store);
        server::Resource resource;
        resource.kind = "credential";
        resource.owner = "acme";
        resource.id = "instagram";
        static_cast<void>(authorizer.authorize(operation, store, resource));
        log->record_intent(operation);
    }
    open();
    EXPECT_TRUE(has(lines_of(file()).back(), R"("resource":"credential:acme/instagram")"))
        << lines_of(file()).back();
}

TEST_F(AuditIntentsTest, OneWithoutAResultIsToldOfOnceAtTheNextStart) {
    std::string open_request;
    {
        const auto log = open();
        const auto done = intend(*log, "key-1");
        open_request = intend(*log, "key-2").request_id().to_string();
        log->append_and_wait(done, {"ok", "", 201});
        EXPECT_TRUE(log->unfinished().empty());
    }
    {
        const auto log = open();
        ASSERT_EQ(log->unfinished().size(), 1U);
        EXPECT_EQ(log->unfinished()[0].sequence, 2U);
    }
    {
        const auto log = open();
        ASSERT_EQ(log->unfinished().size(), 1U);
        EXPECT_TRUE(log->unfinished()[0].is_told);
        log->event("settle_key", {{"of_request", open_request}});
    }
    EXPECT_TRUE(open()->unfinished().empty());
    const auto lines = lines_of(file());
    ASSERT_EQ(lines.size(), 5U);
    EXPECT_EQ(text_field(lines[3], "outcome"), "unknown");
    EXPECT_EQ(text_field(lines[3], "request_id"), open_request);
    EXPECT_EQ(text_field(lines[3], "action"), "create_key");
    EXPECT_TRUE(has(lines[3], R"("facts":{"intent_sequence":"2","key_id":"key-2"})")) << lines[3];
    EXPECT_EQ(chain_fault(lines), "");
}

TEST_F(AuditIntentsTest, AllOfThemAreToldOfInTheirOrder) {
    {
        const auto log = open();
        for (int i = 1; i <= 50; ++i) intend(*log, "key-" + std::to_string(i));
    }
    open();
    const auto lines = lines_of(file());
    ASSERT_EQ(lines.size(), 100U);
    for (std::size_t i = 50; i < lines.size(); ++i)
        EXPECT_TRUE(has(lines[i], "\"intent_sequence\":\"" + std::to_string(i - 49) + '"'));
}

TEST_F(AuditIntentsTest, OfSeveralIntentsOfOneRequestTheLastCounts) {
    const auto log = open();
    server::Operation operation = intend(*log, "given up");
    operation.set_fact("key_id", "made");
    log->append_and_wait(operation, {"intent", "", 0});
    ASSERT_EQ(unfinished().size(), 1U);
    EXPECT_EQ(unfinished()[0].facts.at("key_id"), "made");
    EXPECT_EQ(unfinished()[0].sequence, 2U);
    log->append_and_wait(operation, {"ok", "", 201});
    EXPECT_TRUE(unfinished().empty());
}

TEST_F(AuditIntentsTest, AFailedOrWithheldResultIsAResult) {
    const auto log = open();
    for (const char* word : {"ok", "failed", "denied", "cancelled", "withheld"})
        log->append_and_wait(intend(*log, "key"), {word, "", 0});
    EXPECT_TRUE(unfinished().empty());
}

TEST_F(AuditIntentsTest, IntentAndResultMayStandInDifferentSegments) {
    server::AuditConfig each_record = config();
    each_record.segment_bytes = 1;
    {
        server::AuditLog log(each_record, clock_, log_);
        const auto done = intend(log, "key-1");
        intend(log, "key-2");
        for (int i = 0; i < 5; ++i) log.append_and_wait(operation_of("caller"), {"ok", "", 200});
        log.append_and_wait(done, {"ok", "", 201});
    }
    const auto open_ones = unfinished();
    ASSERT_EQ(open_ones.size(), 1U);
    EXPECT_EQ(open_ones[0].sequence, 2U);
    EXPECT_EQ(open_ones[0].facts.at("key_id"), "key-2");
    { const server::AuditLog again(each_record, clock_, log_); }
    ASSERT_EQ(unfinished().size(), 1U);
    EXPECT_TRUE(unfinished()[0].is_told);
}

TEST_F(AuditIntentsTest, OnlyTheEndOfALogIsLookedThrough) {
    {
        const auto log = open();
        intend(*log, "key-1");
        intend(*log, "key-2");
        for (int i = 0; i < 20; ++i) log->append_and_wait(operation_of("caller"), {"ok", "", 200});
    }
    const auto lines = lines_of(file());
    std::uint64_t behind = 0;  // the first two
    for (std::size_t i = 2; i < lines.size(); ++i) behind += lines[i].size() + 1;
    const auto found = [this](std::uint64_t bytes) {
        return server::unfinished_intents(folder_ / "audit", bytes).size();
    };
    EXPECT_EQ(found(behind), 0U);
    EXPECT_EQ(found(behind + lines[1].size()), 0U);
    EXPECT_EQ(found(behind + lines[1].size() + 1), 1U);
    EXPECT_EQ(found(behind + lines[1].size() + lines[0].size() + 1), 1U);
    EXPECT_EQ(found(behind + lines[1].size() + lines[0].size() + 2), 2U);
}

TEST_F(AuditIntentsTest, ResourcesAreTakenOverAndWhatOnlyLooksLikeAnIntentIsNone) {
    std::filesystem::create_directory(folder_ / "audit");
    std::ofstream(file())
        << R"({"sequence":1,"time":"t","daemon":"kmsd","node":"n","request_id":)"
           R"("7b0a1f56-4f7c-4d0e-8f7e-0d9a5ef7f3f1","action":"destroy_key","decisions":[)"
           R"({"resource":{"kind":"key","id":"k"}},{"resource":{"kind":"key","id":"k"}}],)"
           R"("facts":{},"outcome":"intent","previous":""})"
           "\n"
           R"({"sequence":2,"time":"t","daemon":"kmsd","node":"n","request_id":)"
           R"("7b0a1f56-4f7c-4d0e-8f7e-0d9a5ef7f3f2","action":"encrypt","decisions":[)"
           R"({"context":{"outcome":"intent"}}],"outcome":"ok","previous":""})"
           "\n";
    const auto open_ones = unfinished();
    ASSERT_EQ(open_ones.size(), 1U);
    EXPECT_EQ(open_ones[0].action, "destroy_key");
    EXPECT_EQ(open_ones[0].resources, std::vector<std::string>{"key:k"});
}

}  // namespace
