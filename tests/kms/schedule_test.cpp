#include "kms/schedule.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <thread>

#include "tests/kms/key_service_rig.h"
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
