#include "server/audit.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <condition_variable>
#include <fstream>
#include <future>
#include <mutex>
#include <thread>

#include "base/json.h"
#include "base/json.h"
#include "server/audit_file.h"
#include "server/audit_record.h"
#include "server/audit_writer.h"
#include "server/authorizer.h"
#include "server/digest.h"
#include "server/policy.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_clock.h"
#include "tests/support/temporary_directory.h"

namespace {

using namespace std::chrono_literals;
using Steady = std::chrono::steady_clock;

std::vector<std::string> lines_of(const std::filesystem::path& file) {
    std::vector<std::string> lines;
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

std::string text_field(const std::string& line, std::string_view name) {
    base::JsonLimits limits;
    limits.bytes = line.size();
    const auto record = base::parse_json(line, limits);
    const auto* value = record.find(name);
    return value == nullptr || value->string() == nullptr ? "(none)"
                                                          : std::string(*value->string());
}

// Empty when every line follows from the one before it.
std::string chain_fault(const std::vector<std::string>& lines) {
    std::string previous = server::first_previous();
    server::Sha256 sha256;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (server::sequence_of(lines[i]) != i + 1)
            return "sequence of line " + std::to_string(i + 1);
        if (text_field(lines[i], "previous") != previous)
            return "chain at line " + std::to_string(i + 1);
        previous = sha256.hex(lines[i]);
    }
    return "";
}

server::Operation operation_of(std::string_view caller_id,
                               server::Action action = {"unwrap_data_key"}) {
    server::Caller caller;
    caller.id = caller_id;
    caller.method = server::AuthenticationMethod::client_certificate;
    caller.address = "127.0.0.1";
    server::Operation operation(base::Uuid::random(), base::from_milliseconds(1'800'000'000'000),
                                caller);
    operation.set_action(action);
    return operation;
}

// Waits for callbacks, with a bound that only a broken log reaches.
class Answers {
public:
    server::AuditLog::Done callback() {
        return [this](bool durable) {
            const std::lock_guard lock(mutex_);
            (durable ? yes_ : no_) += 1;
            changed_.notify_all();
        };
    }
    bool wait_for(std::size_t count, std::chrono::milliseconds bound = 20s) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, bound, [&] { return yes_ + no_ >= count; });
    }
    std::size_t yes() {
        const std::lock_guard lock(mutex_);
        return yes_;
    }
    std::size_t no() {
        const std::lock_guard lock(mutex_);
        return no_;
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::size_t yes_ = 0;
    std::size_t no_ = 0;
};

template <typename Condition>
bool eventually(Condition condition) {
    const auto end = Steady::now() + 20s;
    while (Steady::now() < end) {
        if (condition()) return true;
        std::this_thread::yield();
    }
    return false;
}

class AuditLogTest : public ::testing::Test {
protected:
    server::AuditConfig config() const {
        server::AuditConfig config;
        config.directory = folder_ / "audit";
        config.daemon = "kmsd";
        config.node = "node-1";
        return config;
    }
    std::unique_ptr<server::AuditLog> open() {
        return std::make_unique<server::AuditLog>(config(), clock_, log_);
    }
    std::filesystem::path file() const { return folder_ / "audit" / "audit.jsonl"; }

    tests::TemporaryDirectory folder_;
    tests::FakeClock clock_;
    base::Log log_{"audit_test", base::LogLevel::error};
};

TEST_F(AuditLogTest, RecordSaysWhoDidWhatAndWhy) {
    server::Operation operation = operation_of("spiffe://strongroom/app");
    operation.set_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    operation.add_item({"key/3", "integrity_failure"});
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
        R"("}],"items":[{"resource":"key/3","outcome":"integrity_failure"}],"facts":{"key_version":"3"},)"
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
        const auto log = open();
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

// A disk that a test can make fail or hang.
class TestDisk {
public:
    void append(std::string_view lines) {
        std::unique_lock lock(mutex_);
        ++calls_;
        changed_.notify_all();
        changed_.wait(lock, [this] { return !hangs_; });
        if (fails_) throw base::Error(base::ErrorCode::unavailable, "no", "the test says so");
        text_ += lines;
    }
    void set(bool hangs, bool fails) {
        const std::lock_guard lock(mutex_);
        hangs_ = hangs;
        fails_ = fails;
        changed_.notify_all();
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
                operation.request_id(), std::string(operation.action()), std::move(done)};
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
    auto too_much = entry([&told](bool durable) { told = !durable; });
    too_much.fields = std::string(40UL * 1024 * 1024, 'x');
    writer->append(std::move(too_much));
    EXPECT_TRUE(told);
    disk_->set(false, false);
    ASSERT_TRUE(answers.wait_for(1));
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
