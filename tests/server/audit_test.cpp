#include "server/audit.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <future>
#include <optional>
#include <thread>

#include "server/audit_file.h"
#include "server/audit_record.h"
#include "server/authorizer.h"
#include "server/policy.h"
#include "tests/server/audit_house.h"
#include "tests/support/expect_error.h"

namespace {

using namespace std::chrono_literals;
using Steady = std::chrono::steady_clock;

using tests::Answers;
using tests::AuditLogTest;
using tests::chain_fault;
using tests::eventually;
using tests::lines_of;
using tests::operation_of;
using tests::text_field;

TEST_F(AuditLogTest, RecordSaysWhoDidWhatAndWhy) {
    server::Operation operation = operation_of("spiffe://strongroom/app");
    operation.set_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    operation.add_item({"key/3", "integrity_failure"});
    operation.add_item({"key/3", "ok", "key/4", "0-7,9", 0, {}, "key/2"});
    operation.set_fact("key_version", "3");
    const server::Authorizer authorizer(server::parse_policy(
        R"({"version":1,"roles":{"app":[{"id":"r1","effect":"allow","actions":["*"],"resources":["*"]}]},
            "bindings":[{"caller":"spiffe://strongroom/app","roles":["app"]}]})",
        {}));
    server::Resource key;
    key.kind = "key";
    key.id = "k-1";
    authorizer.authorize(operation, {"unwrap_data_key"}, key, {{"tenant", "t-9"}});
    clock_.advance(5ms);
    open()->append_and_wait(operation, {"failed", "integrity_failure", 422});

    const std::string expected =
        R"({"sequence":1,"time":"2027-01-15T08:00:00.005Z","daemon":"kmsd","node":"node-1","request_id":")" +
        operation.request_id().to_string() +
        R"(","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",)"
        R"("caller":{"id":"spiffe://strongroom/app","method":"client_certificate","address":"127.0.0.1"},)"
        R"("action":"unwrap_data_key","decisions":[{"action":"unwrap_data_key",)"
        R"("resource":{"kind":"key","id":"k-1","owner":""},"context":{"tenant":"t-9"},"allowed":true,)"
        R"("rule":"r1","policy":")" +
        authorizer.policy_hash() +
        R"("}],"items":[{"resource":"key/3","outcome":"integrity_failure"},)"
        R"({"resource":"key/3","outcome":"ok","made":"key/4","key":"key/2","items":"0-7,9","decision":0}],"facts":{"key_version":"3"},)"
        R"("outcome":"failed","error":"integrity_failure","status":422,"duration_us":5000,"previous":")" +
        server::first_previous() + R"("})";
    ASSERT_EQ(lines_of(file()).size(), 1U);
    EXPECT_EQ(lines_of(file()).front(), expected);
}

TEST_F(AuditLogTest, FilesArePrivate) {
    const auto log = open();
    struct stat status {};
    ASSERT_EQ(::stat((folder_ / "audit").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0700U);
    ASSERT_EQ(::stat(file().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0600U);
}

TEST_F(AuditLogTest, SequenceAndChainGoOnAfterARestart) {
    for (int run = 0; run < 3; ++run) {
        const auto log = open();
        for (int i = 0; i < 5; ++i) log->append_and_wait(operation_of("caller"), {"ok", "", 200});
        EXPECT_EQ(log->records_written(), 5U);
    }
    const auto lines = lines_of(file());
    EXPECT_EQ(lines.size(), 15U);
    EXPECT_EQ(chain_fault(lines), "");
}

TEST_F(AuditLogTest, RecordsOfManyThreadsKeepOneChain) {
    Answers answers;
    {
        auto patient = config();
        patient.bound = std::chrono::seconds(60);
        const auto log = std::make_unique<server::AuditLog>(patient, clock_, log_);
        std::vector<std::thread> threads;
        for (int t = 0; t < 8; ++t) {
            threads.emplace_back([&] {
                for (int i = 0; i < 200; ++i)
                    log->append(operation_of("caller"), {"ok", "", 200}, answers.callback());
            });
        }
        for (auto& thread : threads) thread.join();
        EXPECT_TRUE(answers.wait_for(1600));
    }
    EXPECT_EQ(answers.yes(), 1600U);
    EXPECT_EQ(answers.no(), 0U);
    const auto lines = lines_of(file());
    EXPECT_EQ(lines.size(), 1600U);
    EXPECT_EQ(chain_fault(lines), "");
}

TEST_F(AuditLogTest, DestructorWritesWhatIsQueued) {
    Answers answers;
    {
        const auto log = open();
        for (int i = 0; i < 300; ++i)
            log->append(operation_of("caller"), {"ok", "", 200}, answers.callback());
    }
    EXPECT_EQ(answers.yes(), 300U);
    EXPECT_EQ(lines_of(file()).size(), 300U);
}

TEST_F(AuditLogTest, TornLastLineIsCutAndTheChainGoesOn) {
    open()->append_and_wait(operation_of("caller"), {"ok", "", 200});
    std::ofstream(file(), std::ios::app) << R"({"sequence":2,"time":"2027-)";
    open()->append_and_wait(operation_of("caller"), {"ok", "", 200});
    const auto lines = lines_of(file());
    EXPECT_EQ(lines.size(), 2U);
    EXPECT_EQ(chain_fault(lines), "");
}

TEST_F(AuditLogTest, ThatALastLineWasTornIsSaid) {
    open()->append_and_wait(operation_of("caller"), {"ok", "", 200});
    const auto said_at_start = [this] {
        testing::internal::CaptureStderr();
        base::Log said("audit_test", base::LogLevel::warning);
        static_cast<void>(server::AuditLog(config(), clock_, said));
        return testing::internal::GetCapturedStderr();
    };
    EXPECT_EQ(said_at_start(), "");
    std::ofstream(file(), std::ios::app) << R"({"sequence":2,)";
    const std::string said = said_at_start();
    EXPECT_NE(said.find("torn last line"), std::string::npos) << said;
    EXPECT_NE(said.find("\"bytes\":14"), std::string::npos) << said;
}

TEST_F(AuditLogTest, TornFirstLineIsCut) {
    open();
    std::ofstream(file(), std::ios::app) << R"({"sequ)";
    open()->append_and_wait(operation_of("caller"), {"ok", "", 200});
    EXPECT_EQ(chain_fault(lines_of(file())), "");
    EXPECT_EQ(lines_of(file()).size(), 1U);
}

TEST_F(AuditLogTest, LastLineLongerThanTheFirstLookIsFound) {
    open()->append_and_wait(operation_of("caller"), {"ok", "", 200});
    {
        auto operation = operation_of("caller");
        operation.set_fact("long", std::string(300'000, 'x'));
        open()->append_and_wait(operation, {"ok", "", 200});
    }
    open()->append_and_wait(operation_of("caller"), {"ok", "", 200});
    EXPECT_EQ(chain_fault(lines_of(file())).substr(0, 8), "");
    EXPECT_EQ(lines_of(file()).size(), 3U);
}

TEST_F(AuditLogTest, LastLineThatIsNoRecordIsRefused) {
    open();
    std::ofstream(file(), std::ios::app) << "{\"sequence\":\"1\"}\n";
    EXPECT_ERROR_SAYING(failed_precondition, file().string(), open());
}

TEST_F(AuditLogTest, SecondWriterIsRefused) {
    const auto log = open();
    EXPECT_ERROR_SAYING(failed_precondition, "in use by another process", open());
}

TEST_F(AuditLogTest, FolderOrFileOpenToOthersIsRefused) {
    open();
    ASSERT_EQ(::chmod(file().c_str(), 0640), 0);
    EXPECT_ERROR_SAYING(failed_precondition, "chmod 0600", open());
    ASSERT_EQ(::chmod(file().c_str(), 0600), 0);
    ASSERT_EQ(::chmod((folder_ / "audit").c_str(), 0755), 0);
    EXPECT_ERROR_SAYING(failed_precondition, "chmod 0700", open());
}

TEST_F(AuditLogTest, FolderThatCannotBeIsRefused) {
    folder_.write("audit", "a file in the way");
    EXPECT_ERROR_SAYING(failed_precondition, "is no folder", open());
    auto elsewhere = config();
    elsewhere.directory = folder_ / "no" / "such";
    EXPECT_ERROR_SAYING(failed_precondition, "can't be created",
                        server::AuditLog(elsewhere, clock_, log_));
}

TEST_F(AuditLogTest, EventsAreRecords) {
    open()->event("start", {{"version", "1"}});
    const auto lines = lines_of(file());
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_EQ(text_field(lines.front(), "action"), "start");
    EXPECT_EQ(text_field(lines.front(), "outcome"), "ok");
}

// A secret is neither text nor made into text: what does not compile can't be recorded.
static_assert(!std::is_convertible_v<base::SecretBytes, std::string>);
static_assert(!std::is_constructible_v<std::string, base::SecretBytes>);
static_assert(!std::is_constructible_v<std::string_view, base::SecretBytes>);
static_assert(!std::is_invocable_v<decltype(&server::Operation::set_fact), server::Operation&,
                                   std::string, base::SecretBytes>);

// No file may grow beyond the limit, as on a full disk; the signal that comes with it is ignored.
class FileSizeLimit {
public:
    explicit FileSizeLimit(rlim_t bytes) {
        ::signal(SIGXFSZ, SIG_IGN);
        ::getrlimit(RLIMIT_FSIZE, &before_);
        const rlimit limit{bytes, before_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }
    FileSizeLimit(const FileSizeLimit&) = delete;
    FileSizeLimit& operator=(const FileSizeLimit&) = delete;

private:
    rlimit before_{};
};

TEST_F(AuditLogTest, FullDiskRefusesEveryRecordAndTheLogRecoversByItself) {
    Answers answers;
    const auto log = open();
    log->append_and_wait(operation_of("caller"), {"ok", "", 200});
    const std::size_t line_bytes = std::filesystem::file_size(file());
    {
        const FileSizeLimit limit(line_bytes * 3 / 2);
        EXPECT_ERROR_SAYING(unavailable, "audit log",
                            log->append_and_wait(operation_of("a"), {"ok", "", 200}));
        EXPECT_ERROR(unavailable, log->append_and_wait(operation_of("b"), {"ok", "", 200}));
        EXPECT_ERROR(unavailable, log->check());
        EXPECT_EQ(std::filesystem::file_size(file()), line_bytes);  // no half line stays
    }
    EXPECT_TRUE(eventually([&] { return log->records_written() == 5; }));  // without a new record
    EXPECT_NO_THROW(log->check());
    EXPECT_NO_THROW(log->append_and_wait(operation_of("c"), {"ok", "", 200}));
    const auto lines = lines_of(file());
    ASSERT_EQ(lines.size(), 6U);
    EXPECT_EQ(chain_fault(lines), "");
    EXPECT_EQ(text_field(lines[1], "outcome"), "ok");
    EXPECT_EQ(text_field(lines[3], "outcome"), "withheld");
    EXPECT_EQ(text_field(lines[3], "request_id"), text_field(lines[1], "request_id"));
    EXPECT_NE(lines[3].find(R"("withheld_sequence":"2")"), std::string::npos);
    EXPECT_NE(lines[4].find(R"("withheld_sequence":"3")"), std::string::npos);
}

// What this process writes to standard error, as it comes.
class HeardStderr {
public:
    HeardStderr() : before_(::dup(STDERR_FILENO)) {
        std::array<int, 2> ends{};
        if (::pipe(ends.data()) != 0) std::abort();
        reading_ = ends[0];
        ::dup2(ends[1], STDERR_FILENO);
        ::close(ends[1]);
    }
    ~HeardStderr() {
        stop();
        ::close(reading_);
    }
    HeardStderr(const HeardStderr&) = delete;
    HeardStderr& operator=(const HeardStderr&) = delete;

    void wait_for(std::string_view part, std::string_view end) {
        const auto has = [this](std::string_view each) {
            return text_.find(each) != std::string::npos;
        };
        while (!has(part) && !has(end) && read_more()) continue;
    }
    // All of it; nothing more is heard.
    const std::string& text() {
        stop();
        while (read_more()) continue;
        return text_;
    }

private:
    bool read_more() {
        std::array<char, 4096> buffer{};
        const ssize_t size = ::read(reading_, buffer.data(), buffer.size());
        if (size > 0) text_.append(buffer.data(), static_cast<std::size_t>(size));
        return size > 0;
    }
    void stop() {
        if (before_ < 0) return;
        ::dup2(before_, STDERR_FILENO);
        ::close(std::exchange(before_, -1));
    }
    int before_;
    int reading_ = -1;
    std::string text_;
};

TEST_F(AuditLogTest, StartWaitsForADiskThatFailsAndSaysSoOnce) {
    constexpr std::string_view waits = "the start waits for the disk";
    HeardStderr heard;
    base::Log said("audit_test", base::LogLevel::warning);
    server::AuditLog log(config(), clock_, said);
    std::optional<FileSizeLimit> limit(1);
    auto start = std::async(std::launch::async, [&log, &said] {
        std::string failure;
        try {
            log.event("token_login", {});
            log.event("start", {});
        } catch (const base::Error& error) {
            failure = error.what();
        }
        said.warning("the start is over");
        return failure;
    });
    heard.wait_for(waits, "the start is over");
    EXPECT_ERROR(unavailable, log.check());
    limit.reset();
    EXPECT_EQ(start.get(), "");
    const auto lines = lines_of(file());
    ASSERT_EQ(lines.size(), 2U) << "nothing of it was withheld";
    EXPECT_EQ(chain_fault(lines), "");
    EXPECT_EQ(text_field(lines[1], "action"), "start");
    EXPECT_EQ(text_field(lines[1], "outcome"), "ok");
    const std::string& text = heard.text();
    EXPECT_EQ(text.find(waits), text.rfind(waits)) << text;
}

TEST_F(AuditLogTest, EventsOfARunningDaemonDoNotWaitForTheDisk) {
    const auto log = open();
    log->event("start", {});
    const FileSizeLimit limit(1);
    EXPECT_ERROR_SAYING(unavailable, "the audit log can't be written", log->event("reload", {}));
}

TEST_F(AuditLogTest, StartGivesUpOnADiskThatStaysAwayAndSaysWhatToDo) {
    auto impatient = config();
    impatient.bound = 2ms;
    server::AuditLog log(impatient, clock_, log_);
    const FileSizeLimit limit(1);
    EXPECT_ERROR_SAYING(unavailable, "see to the space and the health of its disk",
                        log.event("start", {}));
    EXPECT_ERROR_SAYING(unavailable, config().directory.string(), log.event("start", {}));
}

TEST_F(AuditLogTest, SixteenWaitingCallersShareTheirSyncs) {
    constexpr int callers = 16;
    constexpr int records = 200;
    const auto log = open();
    const auto start = Steady::now();
    std::vector<std::thread> threads;
    for (int t = 0; t < callers; ++t) {
        threads.emplace_back([&log] {
            const auto operation = operation_of("spiffe://strongroom/app");
            for (int i = 0; i < records; ++i) log->append_and_wait(operation, {"ok", "", 200});
        });
    }
    for (auto& thread : threads) thread.join();
    const double seconds = std::chrono::duration<double>(Steady::now() - start).count();
    RecordProperty("records_per_second", static_cast<int>(callers * records / seconds));
    EXPECT_EQ(log->records_written(), std::uint64_t{callers * records});
}

}  // namespace
