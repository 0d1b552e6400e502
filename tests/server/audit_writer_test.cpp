#include "server/audit_writer.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "server/audit_file.h"
#include "server/audit_record.h"
#include "tests/server/audit_house.h"
#include "tests/support/expect_error.h"

namespace {

using namespace std::chrono_literals;
using Steady = std::chrono::steady_clock;

using tests::Answers;
using tests::AuditLogTest;
using tests::chain_fault;
using tests::eventually;
using tests::operation_of;
using tests::text_field;

// A disk that a test can make fail or hang.
class TestDisk {
public:
    void append(std::string_view lines) {
        std::unique_lock lock(mutex_);
        ++calls_;
        changed_.notify_all();
        changed_.wait(lock, [this] { return !hangs_ || let_through_ > 0; });
        if (hangs_) --let_through_;
        if (fails_) throw base::Error(base::ErrorCode::unavailable, "no", "the test says so");
        text_ += lines;
    }
    void set(bool hangs, bool fails) {
        const std::lock_guard lock(mutex_);
        hangs_ = hangs;
        fails_ = fails;
        changed_.notify_all();
    }
    void hang_from_now_on() { set(true, false); }
    // Returns when a call hangs.
    void hang() {
        std::unique_lock lock(mutex_);
        hangs_ = true;
        fails_ = false;
        changed_.wait(lock, [next = calls_ + 1, this] { return calls_ >= next; });
    }
    // The call that hangs goes on; returns when the one after it hangs.
    void let_one_through() {
        std::unique_lock lock(mutex_);
        ++let_through_;
        changed_.notify_all();
        changed_.wait(lock, [next = calls_ + 1, this] { return calls_ >= next; });
    }
    int calls() {
        const std::lock_guard lock(mutex_);
        return calls_;
    }
    void wait_for_call() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return calls_ > 0; });
    }
    std::vector<std::string> lines() {
        const std::lock_guard lock(mutex_);
        std::vector<std::string> result;
        for (std::size_t at = 0; at < text_.size(); at = text_.find('\n', at) + 1) {
            result.push_back(text_.substr(at, text_.find('\n', at) - at));
        }
        return result;
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool hangs_ = false;
    bool fails_ = false;
    int let_through_ = 0;  // calls that go on although it hangs
    int calls_ = 0;
    std::string text_;
};

class TestFile final : public server::AuditFile {
public:
    explicit TestFile(std::shared_ptr<TestDisk> disk) : disk_(std::move(disk)) {}
    void append(std::string_view lines) override { disk_->append(lines); }

private:
    std::shared_ptr<TestDisk> disk_;
};

class AuditWriterTest : public AuditLogTest {
protected:
    std::unique_ptr<server::AuditWriter> open_writer() {
        return std::make_unique<server::AuditWriter>(
            config(), std::make_unique<TestFile>(disk_),
            server::AuditChain{0, server::first_previous()}, clock_, log_);
    }
    server::AuditEntry entry(server::AuditLog::Done done) {
        const auto operation = operation_of("caller");
        return {server::audit_fields(config(), operation, {"ok", "", 200}, clock_.now()),
                operation.request_id(), std::string(operation.action()), std::move(done), true};
    }

    // A slow machine is no slow disk to it.
    std::unique_ptr<server::AuditWriter> open_patient_writer() {
        auto patient = config();
        patient.bound = 60s;
        return std::make_unique<server::AuditWriter>(
            patient, std::make_unique<TestFile>(disk_),
            server::AuditChain{0, server::first_previous()}, clock_, log_);
    }
    std::size_t lines_with(std::string_view part) {
        const auto lines = disk_->lines();
        return static_cast<std::size_t>(std::count_if(
            lines.begin(), lines.end(),
            [part](const std::string& line) { return line.find(part) != std::string::npos; }));
    }

    std::shared_ptr<TestDisk> disk_ = std::make_shared<TestDisk>();
};

TEST_F(AuditWriterTest, HangingDiskRefusesWithinTheBoundAndRecordsAreKept) {
    Answers answers;
    const auto writer = open_writer();
    disk_->set(true, false);
    const auto start = Steady::now();
    for (int i = 0; i < 10; ++i) writer->append(entry(answers.callback()));
    ASSERT_TRUE(answers.wait_for(10));
    EXPECT_LE(Steady::now() - start, 250ms);
    EXPECT_EQ(answers.no(), 10U);
    EXPECT_ERROR(unavailable, writer->check());

    disk_->set(false, false);
    ASSERT_TRUE(eventually([&] { return writer->records_written() == 20; }));
    EXPECT_NO_THROW(writer->check());
    EXPECT_EQ(answers.no() + answers.yes(), 10U);  // nobody was told twice
    const auto lines = disk_->lines();
    EXPECT_EQ(chain_fault(lines), "");
    EXPECT_EQ(
        std::count_if(lines.begin(), lines.end(),
                      [](const auto& line) { return text_field(line, "outcome") == "withheld"; }),
        10);
}

TEST_F(AuditWriterTest, PatientRecordWaitsForADiskThatFailsOrHangsAndIsNeverWithheld) {
    Answers patient;
    Answers others;
    const auto writer = open_writer();
    disk_->set(false, true);
    auto waiting = entry(patient.callback());
    waiting.is_patient = true;
    writer->append(std::move(waiting));
    writer->append(entry(others.callback()));
    ASSERT_TRUE(others.wait_for(1));  // refused: the write failed
    disk_->hang();
    writer->append(entry(others.callback()));
    ASSERT_TRUE(others.wait_for(2));  // refused: the bound has passed, for the patient one too
    EXPECT_EQ(others.no(), 2U);
    EXPECT_EQ(patient.no() + patient.yes(), 0U);

    disk_->set(false, false);
    ASSERT_TRUE(patient.wait_for(1));
    EXPECT_EQ(patient.last(), 1U);
    ASSERT_TRUE(eventually([&] { return writer->records_written() == 5; }));
    EXPECT_EQ(chain_fault(disk_->lines()), "");
    EXPECT_EQ(lines_with(R"("outcome":"withheld")"), 2U) << "those of the others";
}

TEST_F(AuditWriterTest, PatientRecordIsToldFalseWhenTheWriterEnds) {
    Answers patient;
    auto writer = open_writer();
    disk_->set(false, true);
    auto waiting = entry(patient.callback());
    waiting.is_patient = true;
    writer->append(std::move(waiting));
    writer.reset();
    EXPECT_EQ(patient.no(), 1U);
}

TEST_F(AuditWriterTest, EachIsToldItsPlaceInTheLog) {
    Answers answers;
    const auto writer = open_writer();
    for (std::size_t i = 1; i <= 5; ++i) {
        writer->append(entry(answers.callback()));
        ASSERT_TRUE(answers.wait_for(i));
        EXPECT_EQ(answers.last(), i);
    }
}

TEST_F(AuditWriterTest, RecordsThatComeTogetherShareOneSync) {
    Answers answers;
    const auto writer = open_patient_writer();
    constexpr unsigned records = 8;
    for (int round = 1; round <= 200; ++round) {
        std::vector<server::AuditEntry> entries;
        for (unsigned i = 0; i < records; ++i) entries.push_back(entry(answers.callback()));
        writer->append_all(entries);
        ASSERT_TRUE(answers.wait_for(static_cast<unsigned>(round) * records));
        ASSERT_EQ(disk_->calls(), round);
    }
    EXPECT_EQ(answers.yes(), 200U * records);
}

// While the disk hangs, a quarter of the queue is taken by what was begun.
TEST_F(AuditWriterTest, OfRecordsThatComeTogetherThoseWithoutRoomAreToldSo) {
    const auto writer = open_patient_writer();
    disk_->hang_from_now_on();
    Answers of_begun;
    for (int i = 0; i <= 16384 / 4; ++i) writer->append(entry(of_begun.callback()));
    Answers of_refusals;
    Answers of_work;
    std::vector<server::AuditEntry> entries;
    for (int i = 0; i < 3; ++i) {
        entries.push_back(entry(of_refusals.callback()));
        entries.back().was_begun = false;
        entries.push_back(entry(of_work.callback()));
    }
    writer->append_all(entries);
    ASSERT_TRUE(of_refusals.wait_for(3));
    EXPECT_EQ(of_refusals.yes(), 0U);
    disk_->set(false, false);
    ASSERT_TRUE(of_work.wait_for(3));
    EXPECT_EQ(of_work.yes(), 3U);
    EXPECT_EQ(of_refusals.yes(), 0U);
}

TEST_F(AuditWriterTest, ALargeRecordHoldsNoMoreMemoryThanItNeeds) {
    const auto writer = open_patient_writer();
    disk_->hang_from_now_on();
    Answers answers;
    for (int i = 0; i < 8; ++i) {
        auto large = entry(answers.callback());
        large.fields.reserve(30UL * 1024 * 1024);  // 64 MiB may wait, and half of it is no alarm
        writer->append(std::move(large));
    }
    EXPECT_NO_THROW(writer->check());
    disk_->set(false, false);
    ASSERT_TRUE(answers.wait_for(8));
    EXPECT_EQ(answers.yes(), 8U);
}

TEST_F(AuditWriterTest, RecordOfAQuietLogIsBoundedToo) {
    Answers answers;
    auto quick = config();
    quick.bound = 20ms;
    server::AuditWriter writer(quick, std::make_unique<TestFile>(disk_),
                               server::AuditChain{0, server::first_previous()}, clock_, log_);
    writer.append(entry(answers.callback()));
    ASSERT_TRUE(answers.wait_for(1));
    const auto quiet_until = Steady::now() + 100ms;  // the timer is asleep by then
    ASSERT_TRUE(eventually([&] { return Steady::now() > quiet_until; }));
    disk_->set(true, false);
    const auto start = Steady::now();
    writer.append(entry(answers.callback()));
    ASSERT_TRUE(answers.wait_for(2));
    EXPECT_LE(Steady::now() - start, 70ms);
    EXPECT_EQ(answers.no(), 1U);
    disk_->set(false, false);
}

TEST_F(AuditWriterTest, DestructorLeavesAHangingDiskBehind) {
    Answers answers;
    auto writer = open_writer();
    disk_->set(true, false);
    for (int i = 0; i < 3; ++i) writer->append(entry(answers.callback()));
    disk_->wait_for_call();
    const auto start = Steady::now();
    writer.reset();
    EXPECT_LE(Steady::now() - start, 1s);
    EXPECT_EQ(answers.no(), 3U);
    disk_->set(false, false);
}

TEST_F(AuditWriterTest, FailingDiskRefusesAtOnceAndTriesAgainByItself) {
    Answers answers;
    const auto writer = open_writer();
    disk_->set(false, true);
    for (std::size_t i = 1; i <= 100; ++i) {
        writer->append(entry(answers.callback()));
        ASSERT_TRUE(answers.wait_for(i));
    }
    EXPECT_EQ(answers.no(), 100U);
    EXPECT_ERROR(unavailable, writer->check());
    disk_->set(false, false);
    ASSERT_TRUE(eventually([&] { return writer->records_written() == 200; }));
    EXPECT_NO_THROW(writer->check());
    EXPECT_EQ(chain_fault(disk_->lines()), "");
}

TEST_F(AuditWriterTest, RecordThatNobodyWaitsForIsNeverWithheld) {
    Answers answers;
    const auto writer = open_writer();
    disk_->set(false, true);
    writer->append(entry(nullptr));
    writer->append(entry(answers.callback()));
    ASSERT_TRUE(answers.wait_for(1));
    EXPECT_EQ(answers.no(), 1U);
    disk_->set(false, false);
    ASSERT_TRUE(eventually([&] { return writer->records_written() == 3; }));
    const auto lines = disk_->lines();
    EXPECT_EQ(chain_fault(lines), "");
    ASSERT_EQ(lines.size(), 3U);
    EXPECT_EQ(text_field(lines[0], "outcome"), "ok");
    EXPECT_EQ(text_field(lines[2], "outcome"), "withheld");
    EXPECT_EQ(text_field(lines[2], "request_id"), text_field(lines[1], "request_id"));
}

bool may_begin(const server::AuditWriter& writer) {
    try {
        writer.check();
        return true;
    } catch (const base::Error& error) {
        EXPECT_EQ(error.code(), base::ErrorCode::unavailable);
        return false;
    }
}

// While the disk fails, the records of refused calls fill the queue. When it is back, an operation
// is not begun before there is room for its records.
TEST_F(AuditWriterTest, NothingIsBegunUntilThereIsRoomForItsRecords) {
    constexpr std::size_t refused = 20'000;
    constexpr std::size_t begun = 1000;
    Answers answers;
    Answers kept;
    const auto writer = open_patient_writer();
    disk_->set(false, true);
    for (std::size_t i = 0; i < refused; ++i) writer->append(entry(answers.callback()));
    ASSERT_TRUE(answers.wait_for(refused));
    EXPECT_EQ(answers.no(), refused);
    disk_->hang();
    disk_->let_one_through();
    ASSERT_GT(writer->records_written(), 0U) << "the disk is back";
    EXPECT_FALSE(may_begin(*writer));

    std::size_t more = 0;
    while (!may_begin(*writer)) {
        writer->append(entry(nullptr));  // one more that is refused
        ASSERT_LT(++more, 100U);
        disk_->let_one_through();
    }
    for (std::size_t i = 0; i < begun; ++i) writer->append(entry(kept.callback()));
    disk_->set(false, false);
    ASSERT_TRUE(kept.wait_for(begun));
    EXPECT_EQ(kept.yes(), begun);

    SCOPED_TRACE("the log says how many are missing");
    ASSERT_EQ(lines_with("\"action\":\"drop_records\""), 1U);
    const std::size_t missing = refused + more + begun - lines_with("\"outcome\":\"ok\"");
    EXPECT_GT(missing, 0U);
    EXPECT_EQ(lines_with("\"facts\":{\"records\":\"" + std::to_string(missing) + "\"}"), 1U);
}

TEST_F(AuditWriterTest, RefusalsHaveAQuarterOfTheRoomAndKeepNobodyOut) {
    constexpr std::size_t refused = 6000;
    constexpr std::size_t under_way = 12'000;
    Answers answers;
    Answers kept;
    const auto writer = open_patient_writer();
    disk_->set(true, false);
    for (std::size_t i = 0; i < refused; ++i) {
        auto refusal = entry(answers.callback());
        refusal.was_begun = false;
        writer->append(std::move(refusal));
    }
    EXPECT_GT(answers.no(), 0U);
    EXPECT_LT(answers.no(), refused / 2);
    EXPECT_TRUE(may_begin(*writer));
    for (std::size_t i = 0; i < under_way; ++i) writer->append(entry(kept.callback()));
    disk_->set(false, false);
    ASSERT_TRUE(kept.wait_for(under_way));
    EXPECT_EQ(kept.yes(), under_way);
}

TEST_F(AuditWriterTest, NothingIsBegunWhileLargeRecordsTakeHalfOfTheRoom) {
    const auto writer = open_patient_writer();
    EXPECT_TRUE(may_begin(*writer));
    disk_->set(true, false);
    auto big = entry(nullptr);
    big.fields = std::string(40UL * 1024 * 1024, 'x');
    writer->append(std::move(big));
    EXPECT_FALSE(may_begin(*writer));
    disk_->set(false, false);
    EXPECT_TRUE(eventually([&] { return may_begin(*writer); }));
}

TEST_F(AuditWriterTest, FullQueueRefusesAtOnce) {
    Answers answers;
    const auto writer = open_writer();
    disk_->set(true, false);
    writer->append(entry(answers.callback()));
    disk_->wait_for_call();
    auto big = entry(nullptr);
    big.fields = std::string(40UL * 1024 * 1024, 'x');
    writer->append(std::move(big));
    bool told = false;
    auto too_much = entry([&told](std::uint64_t sequence) { told = sequence == 0; });
    too_much.fields = std::string(40UL * 1024 * 1024, 'x');
    writer->append(std::move(too_much));
    EXPECT_TRUE(told);
    disk_->set(false, false);
    ASSERT_TRUE(answers.wait_for(1));
}

}  // namespace
