// What the tests of budgets share: tiers as text, a store that can fail, an operation's charge.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/budget.h"
#include "server/database.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_clock.h"
#include "tests/support/temporary_directory.h"

namespace tests {

inline const std::vector<std::string_view> budget_words = {"read", "write", "open"};

inline std::string tiers_text(const std::string& limits, const std::string& more = "") {
    return R"({"version":1,)" + more + R"("tiers":{"t":[)" + limits +
           R"(]},"bindings":[],"default":"t"})";
}

inline std::string limit_text(const std::string& what, const std::string& actions = R"("*")") {
    return R"({"id":"l","actions":[)" + actions + "]," + what + "}";
}

// A database whose writes or reads can be made to fail.
class BreakableDatabase final : public server::Database {
public:
    explicit BreakableDatabase(server::Database& inner) : inner_(inner) {}
    server::Dialect dialect() const override { return inner_.dialect(); }
    bool is_shared() const override { return true; }  // by the two budgets of a test
    void migrate(std::string_view room, std::span<const server::Migration> migrations,
                 Unnamed unnamed) override {
        inner_.migrate(room, migrations, unnamed);
    }
    void write(const Work& work) override {
        ++writes;
        refuse_when(writes_fail);
        inner_.write(work);
    }
    void write_in_turn(std::string_view table, const Work& work) override {
        ++writes;
        refuse_when(writes_fail);
        inner_.write_in_turn(table, work);
    }
    void read(const Work& work) override {
        refuse_when(reads_fail);
        inner_.read(work);
    }
    void check() override { inner_.check(); }
    server::DatabaseBackup back_up(const std::string& name) override {
        return inner_.back_up(name);
    }

    bool writes_fail = false;
    bool reads_fail = false;
    std::atomic<int> writes = 0;

private:
    static void refuse_when(bool fail) {
        if (fail) throw base::Error(base::ErrorCode::unavailable, "the store is not available");
    }
    server::Database& inner_;
};

class BudgetsTest : public ::testing::Test {
protected:
    BudgetsTest() { start(clock_now()); }

    static base::Time clock_now() { return *base::parse_rfc3339("2026-11-25T10:15:00Z"); }
    void start(base::Time now) { clock_.advance(now - clock_.now()); }

    std::unique_ptr<server::Budgets> budgets(const std::string& tiers) {
        return std::make_unique<server::Budgets>(
            server::parse_budgets(tiers, budget_words),
            server::BudgetParts{database_, clock_,
                                [this](std::string_view action, const auto& facts) {
                                    if (record_fails_) {
                                        throw base::Error(base::ErrorCode::unavailable,
                                                          "the audit log can't be written");
                                    }
                                    if (while_recording_) while_recording_();
                                    const std::lock_guard lock(events_mutex_);
                                    events_.push_back(std::string(action) + " " +
                                                      facts.at("caller") + " " + facts.at("limit"));
                                }});
    }

    server::Operation operation(std::uint64_t work = 1, const std::string& who = "app") {
        server::Caller caller;
        caller.id = who;
        caller.method = server::AuthenticationMethod::client_certificate;
        server::Operation made(base::Uuid::random(), clock_.now(), caller);
        made.set_work(work);
        return made;
    }

    static server::Resource record(const std::string& id) {
        server::Resource resource;
        resource.kind = "key";
        resource.id = id;
        return resource;
    }

    // Charges one operation that ends at once. Empty when it passed, else what it was over.
    std::optional<base::Overrun> spend(server::Budgets& from, std::uint64_t work = 1,
                                       const std::string& id = "k",
                                       const std::map<std::string, std::string>& context = {},
                                       const std::string& who = "app",
                                       std::string_view action = "read") {
        auto made = operation(work, who);
        try {
            from.charge(made, {action}, record(id), context);
            return std::nullopt;
        } catch (const base::Error& error) {
            EXPECT_EQ(error.code(), base::ErrorCode::resource_exhausted) << error.what();
            EXPECT_TRUE(error.overrun());
            return error.overrun();
        }
    }

    TemporaryDirectory folder_;
    FakeClock clock_;
    base::Log log_{"budget_test", base::LogLevel::error};
    std::unique_ptr<server::Database> sqlite_ =
        server::open_database(server::SqliteConfig{folder_ / "budget.db"}, log_);
    BreakableDatabase database_{*sqlite_};
    std::mutex events_mutex_;
    std::vector<std::string> events_;
    bool record_fails_ = false;
    std::function<void()> while_recording_;  // what others do meanwhile; may be empty
};

}  // namespace tests
