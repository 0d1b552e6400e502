#include "kms/schedule.h"

#include <gtest/gtest.h>

#include <fstream>
#include <optional>
#include <sstream>
#include <thread>

#include "tests/kms/key_service_rig.h"
#include "tests/support/closed_log.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_token.h"

namespace tests {
namespace {

constexpr std::chrono::hours one_day{24};

class ScheduleTest : public testing::Test {
protected:
    kms::ScheduleParts parts() {
        return {rig_.lifecycle, rig_.catalogue, rig_.store, rig_.usage,
                rig_.audit,     rig_.clock,     rig_.log};
    }
    base::Uuid create(std::optional<int> period) {
        auto operation = operation_of("root");
        kms::NewKey wanted;
        wanted.rotation_period_days = period;
        return rig_.lifecycle.create(rig_.grant(operation, kms::create_key, "*"), wanted).key->id;
    }
    void schedule_deletion(const base::Uuid& id) {
        auto operation = operation_of("root");
        rig_.lifecycle.schedule_deletion(
            rig_.grant(operation, kms::schedule_key_deletion, id.to_string()), id, 7);
    }
    std::uint32_t primary_of(const base::Uuid& id) const {
        return rig_.catalogue.snapshot()->find(id)->primary_version;
    }
    // Audit lines that have all the words.
    std::size_t audit_lines(const std::vector<std::string>& words) const {
        std::size_t count = 0;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_ / "audit")) {
            if (entry.path().extension() != ".jsonl") continue;
            std::ifstream file(entry.path());
            for (std::string line; std::getline(file, line);) {
                bool has_all = true;
                for (const auto& word : words) {
                    has_all = has_all && line.find(word) != std::string::npos;
                }
                if (has_all) ++count;
            }
        }
        return count;
    }

    TemporaryDirectory folder_;
    FakeToken token_;
    KeyServiceRig rig_{token_, folder_.path()};
};

TEST_F(ScheduleTest, DoesWhatIsDueAndNothingElseAndWritesItDown) {
    const auto daily = create(1);
    const auto yearly = create(365);
    const auto never = create(std::nullopt);
    const auto doomed = create(std::nullopt);
    schedule_deletion(doomed);
    kms::Schedule schedule(parts());
    EXPECT_EQ(schedule.run_due(), 0U);
    rig_.clock.advance(7 * one_day);
    schedule.wake();
    // The thread does it; nobody here does.
    while (rig_.store.find(doomed)->state != kms::KeyState::destroyed ||
           rig_.store.find(daily)->primary_version != 2) {
        std::this_thread::yield();
    }
    schedule.run_due();  // waits for the look that is under way
    EXPECT_EQ(primary_of(daily), 2U);
    EXPECT_EQ(primary_of(yearly), 1U);
    EXPECT_EQ(primary_of(never), 1U);
    EXPECT_EQ(audit_lines({"\"rotate_key\"", "intent", daily.to_string()}), 1U);
    EXPECT_EQ(audit_lines({"\"rotate_key\"", "\"ok\"", daily.to_string()}), 1U);
    EXPECT_EQ(audit_lines({"\"destroy_key\"", "intent", doomed.to_string()}), 1U);
    EXPECT_EQ(audit_lines({"\"destroy_key\"", "\"ok\"", doomed.to_string()}), 1U);
}

TEST_F(ScheduleTest, WhatIsLeftOfGivenUpVersionsIsDestroyedAndProvenAbsentToo) {
    const auto id = create(std::nullopt);
    auto operation = operation_of("root");
    const auto right = [&](server::Action action) {
        return rig_.grant(operation, action, id.to_string());
    };
    // A making that was cut short within the token …
    token_.dies_after_generate = true;
    EXPECT_ERROR(unavailable, rig_.lifecycle.rotate(right(kms::rotate_key), id));
    token_.dies_after_generate = false;
    token_.attributes(rig_.store.find(id)->versions.at(1).token_key_id).local = false;
    rig_.lifecycle.rotate(right(kms::rotate_key), id);
    // … and one that a node which stood still finished long after it had been given up.
    token_.fails_to_generate = true;
    EXPECT_ERROR(unavailable, rig_.lifecycle.rotate(right(kms::rotate_key), id));
    token_.fails_to_generate = false;
    const auto versions = rig_.lifecycle.rotate(right(kms::rotate_key), id)->versions;
    ASSERT_EQ(versions.size(), 5U);
    EXPECT_EQ(versions.at(1).state, kms::KeyState::destroyed);
    EXPECT_EQ(versions.at(3).state, kms::KeyState::destroyed);
    token_.generate_key(versions.at(3).token_key_id, "late", hsm::KeyKind::aes_256,
                        hsm::KeyProfile::sealed);
    EXPECT_EQ(token_.list_keys(nullptr).size(), 5U);
    schedule_deletion(id);
    rig_.clock.advance(7 * one_day);
    EXPECT_TRUE(rig_.lifecycle.destroy_if_due(id, {}));
    EXPECT_TRUE(token_.list_keys(nullptr).empty());
    const std::string tombstone = rig_.lifecycle.describe(right(kms::describe_key), id).tombstone;
    for (const auto& version : versions) {
        EXPECT_NE(tombstone.find(version.token_key_id.to_string()), std::string::npos);
    }
}

TEST_F(ScheduleTest, AKeyThatFailsIsTriedAgainAfterAPauseAndStopsNoOther) {
    const auto first = create(1);
    const auto second = create(1);
    rig_.clock.advance(one_day);
    token_.fails_to_generate = true;
    kms::Schedule schedule(parts());
    schedule.run_due();
    token_.fails_to_generate = false;
    EXPECT_EQ(schedule.run_due(), 0U);
    EXPECT_EQ(audit_lines({"\"rotate_key\"", "\"failed\"", "\"unavailable\""}), 2U);
    rig_.clock.advance(kms::schedule_pause);
    schedule.run_due();
    EXPECT_EQ(rig_.store.find(first)->primary_version, 3U);  // number 2 came to nothing
    EXPECT_EQ(rig_.store.find(second)->primary_version, 3U);
}

TEST_F(ScheduleTest, NothingIsBegunWhileTheAuditLogHasNoRoomAndNoKeyIsPausedForIt) {
    const auto daily = create(1);
    const auto doomed = create(std::nullopt);
    schedule_deletion(doomed);
    rig_.clock.advance(7 * one_day);
    std::optional<ClosedLog> closed(rig_.audit);
    kms::Schedule schedule(parts());
    EXPECT_EQ(schedule.run_due(), 0U);
    EXPECT_EQ(rig_.store.find(daily)->primary_version, 1U);
    EXPECT_EQ(rig_.store.find(doomed)->state, kms::KeyState::pending_deletion);
    EXPECT_EQ(audit_lines({"\"outcome\""}), 0U);
    closed.reset();
    schedule.run_due();
    EXPECT_EQ(rig_.store.find(daily)->primary_version, 2U);
    EXPECT_EQ(rig_.store.find(doomed)->state, kms::KeyState::destroyed);
}

TEST_F(ScheduleTest, TheUseOfKeysIsWrittenDownAtTheEnd) {
    const auto key = create(std::nullopt);
    {
        const kms::Schedule schedule(parts());
        rig_.create_data_keys(key, {}, {32, 3, false});
    }
    EXPECT_EQ(rig_.store.find(key)->primary().wraps_used, 3U);
}

}  // namespace
}  // namespace tests
