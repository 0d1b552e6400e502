#include "kms/reconcile_records.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "tests/kms/key_service_rig.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_token.h"

namespace tests {
namespace {

class ReconcileRecordsTest : public testing::Test {
protected:
    // A process that is killed before it can record what came of a creation. Gives its request id.
    std::string die_creating() {
        KeyServiceRig rig(token_, folder_.path());
        auto operation = operation_of("root");
        operation.set_action(kms::create_key);
        const auto grant = rig.grant(operation, kms::create_key, "*");
        const auto intend = [&](const std::map<std::string, std::string>& facts) {
            for (const auto& [name, value] : facts) operation.set_fact(name, value);
            rig.audit.append_and_wait(operation, {"intent", "", 0});
        };
        try {
            rig.lifecycle.create(grant, {}, {{}, intend});
        } catch (const base::Error&) {  // NOLINT(bugprone-empty-catch): it is dead
        }
        return operation.request_id().to_string();
    }
    std::vector<std::string> log_lines() const {
        std::vector<std::string> lines;
        std::ifstream file(folder_ / "audit" / "audit.jsonl");
        for (std::string line; std::getline(file, line);) lines.push_back(line);
        return lines;
    }
    // The records of a start: first of the log, then of what was reconciled.
    std::vector<std::string> records_of_start() {
        const auto before = log_lines().size();
        const FakeClock clock;
        base::Log log("kmsd", base::LogLevel::error);
        OwnSqlite<kms::SqlStore> store(folder_ / "kms.db");
        kms::UsageCounter usage(store, clock);
        server::AuditConfig config;
        config.directory = folder_ / "audit";
        config.daemon = "kmsd";
        config.node = "test";
        config.bound = std::chrono::minutes(1);  // a busy disk is no reason to refuse
        server::AuditLog audit(config, clock, log);
        kms::record_settled(
            audit, kms::reconcile(store, token_, usage, clock, log, {}, [&audit](const auto& each) {
                kms::record_giving_up(audit, each);
            }));
        auto lines = log_lines();
        return {lines.begin() + static_cast<std::ptrdiff_t>(before), lines.end()};
    }
    static bool has(const std::string& line, const std::vector<std::string>& texts) {
        return std::all_of(texts.begin(), texts.end(), [&line](const std::string& text) {
            return line.find(text) != std::string::npos;
        });
    }

    TemporaryDirectory folder_;
    FakeToken token_;
};

TEST_F(ReconcileRecordsTest, AfterAKillBehindTheCommitTheLogSaysWhereTheKeyStands) {
    const std::string request = die_creating();
    const auto records = records_of_start();
    ASSERT_EQ(records.size(), 2U);
    EXPECT_TRUE(has(records[0], {request, R"("action":"create_key")", R"("outcome":"unknown")",
                                 R"("resource":"key:*")", R"("intent_sequence":"1")"}));
    EXPECT_TRUE(has(records[1], {"\"of_request\":\"" + request, R"("action":"settle_key")",
                                 R"("settled":"found")", R"("state":"enabled")",
                                 R"("key_version":"1")", R"("intent_sequence":"1")"}));
    EXPECT_TRUE(records_of_start().empty());
}

TEST_F(ReconcileRecordsTest, AStartThatWasKilledBeforeItSaidSoLeavesThatToTheNext) {
    const std::string request = die_creating();
    { const KeyServiceRig dying(token_, folder_.path()); }
    const auto records = records_of_start();
    ASSERT_EQ(records.size(), 1U);
    EXPECT_TRUE(has(records[0], {"\"of_request\":\"" + request, R"("state":"enabled")"}));
}

TEST_F(ReconcileRecordsTest, WhatReconcilingFinishedOrGaveUpNamesItsIntent) {
    for (const bool made : {true, false}) {
        (made ? token_.dies_after_generate : token_.fails_to_generate) = true;
        const std::string request = die_creating();
        token_.dies_after_generate = token_.fails_to_generate = false;
        const auto records = records_of_start();
        ASSERT_EQ(records.size(), 2U);
        EXPECT_TRUE(has(records[0], {request, R"("outcome":"unknown")"}));
        EXPECT_TRUE(
            has(records[1], {"\"of_request\":\"" + request, R"("action":"settle_key")",
                             made ? R"("settled":"finished")" : R"("settled":"abandoned")"}));
    }
}

TEST_F(ReconcileRecordsTest, AKeyThatWasNeverBegunIsAbsent) {
    {
        KeyServiceRig rig(token_, folder_.path());
        auto operation = operation_of("root");
        operation.set_action(kms::create_key);
        operation.set_fact("key_id", base::Uuid::random().to_string());
        operation.set_fact("key_version", "1");
        rig.audit.append_and_wait(operation, {"intent", "", 0});
    }
    const auto records = records_of_start();
    ASSERT_EQ(records.size(), 2U);
    EXPECT_TRUE(has(records[1], {R"("settled":"found")", R"("state":"absent")"}));
}

TEST_F(ReconcileRecordsTest, OfADestructionTheKeysStateIsSaid) {
    std::string key_id;
    {
        KeyServiceRig rig(token_, folder_.path());
        const auto id = rig.create_key()->id;
        key_id = id.to_string();
        auto order = operation_of("root");
        rig.lifecycle.schedule_deletion(rig.grant(order, kms::schedule_key_deletion, key_id), id,
                                        7);
        rig.clock.advance(std::chrono::hours(7 * 24));
        auto operation = operation_of("");
        operation.set_action(kms::destroy_key);
        EXPECT_TRUE(rig.lifecycle.destroy_if_due(id, [&](const auto& facts) {
            for (const auto& [name, value] : facts) operation.set_fact(name, value);
            rig.audit.append_and_wait(operation, {"intent", "", 0});
        }));
    }
    const auto records = records_of_start();
    ASSERT_EQ(records.size(), 2U);
    EXPECT_TRUE(has(records[0], {R"("action":"destroy_key")", R"("outcome":"unknown")"}));
    EXPECT_TRUE(has(records[1],
                    {key_id, R"("settled":"found")", R"("state":"destroyed")", R"("revision":")"}));
}

}  // namespace
}  // namespace tests
