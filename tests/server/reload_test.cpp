// When and how the steps of a reload run, and what the audit log says of them.
#include "server/reload.h"

#include <sys/resource.h>

#include <csignal>

#include "base/error.h"
#include "tests/server/audit_house.h"

namespace tests {
namespace {

class ReloadTest : public AuditLogTest {
protected:
    server::ReloadStep step(const std::string& name,
                            std::vector<std::filesystem::path> watched = {}) {
        return {name, std::move(watched), [this, name] {
                    ran_.push_back(name);
                    if (name == broken_) {
                        throw base::Error(base::ErrorCode::invalid_argument, name + " is broken",
                                          "for operators only");
                    }
                    if (name == odd_) throw std::runtime_error("odd");
                    return std::map<std::string, std::string>{{"state", "new " + name}};
                }};
    }
    // The records of the reload, as "action step outcome".
    std::vector<std::string> records() const {
        std::vector<std::string> found;
        for (const auto& line : lines_of(file())) {
            const auto record = base::parse_json(line);
            const auto* facts = record.find("facts");
            std::string text = text_field(line, "action");
            for (const auto* name : {"cause", "steps", "step", "outcome", "state", "reason"}) {
                const auto* fact = facts == nullptr ? nullptr : facts->find(name);
                if (fact != nullptr) text += " " + std::string(*fact->string());
            }
            found.push_back(text);
        }
        return found;
    }

    std::vector<std::string> ran_;
    std::string broken_, odd_;
};

TEST_F(ReloadTest, EveryStepRunsInOrderAndIsRecorded) {
    const auto audit = open();
    server::Reloader reloader({step("policy"), step("limits")}, *audit, log_);
    EXPECT_TRUE(reloader.run_all("SIGHUP"));
    EXPECT_EQ(ran_, (std::vector<std::string>{"policy", "limits"}));
    EXPECT_EQ(records(), (std::vector<std::string>{"reload SIGHUP policy limits",
                                                   "reload_step policy done new policy",
                                                   "reload_step limits done new limits"}));
}

TEST_F(ReloadTest, AStepThatFailsIsRecordedAndKeepsNoOtherFromRunning) {
    const auto audit = open();
    broken_ = "policy";
    odd_ = "limits";
    server::Reloader reloader({step("policy"), step("limits"), step("tiers")}, *audit, log_);
    EXPECT_FALSE(reloader.run_all("SIGHUP"));
    EXPECT_EQ(ran_.size(), 3U);
    EXPECT_EQ(records(), (std::vector<std::string>{"reload SIGHUP policy limits tiers",
                                                   "reload_step policy refused policy is broken",
                                                   "reload_step limits refused an unexpected error",
                                                   "reload_step tiers done new tiers"}));
}

// Also what no room of ours throws: the daemon goes on with what it has, and the next time counts.
TEST_F(ReloadTest, WhateverAStepThrowsTheNextReloadWorks) {
    const auto audit = open();
    const auto watched = folder_.write("watched", "one");
    int round = 0;
    const server::ReloadStep odd{"policy", {watched}, [&]() -> std::map<std::string, std::string> {
                                     switch (round++) {
                                         case 0:
                                             throw std::runtime_error("odd");
                                         case 1:
                                             throw std::bad_alloc();
                                         case 2:
                                             throw 7;
                                         default:
                                             return {{"state", "new"}};
                                     }
                                 }};
    server::Reloader reloader({odd, step("limits")}, *audit, log_);
    for (int i = 0; i < 3; ++i) EXPECT_FALSE(reloader.run_all("SIGHUP"));
    EXPECT_EQ(ran_.size(), 3U) << "the step behind it ran each time";
    folder_.write("watched", "two, longer");
    EXPECT_TRUE(reloader.run_changed()) << "it is not still yet";
    EXPECT_TRUE(reloader.run_changed());
    EXPECT_EQ(round, 4);
    EXPECT_EQ(records().back(), "reload_step policy done new");
}

TEST_F(ReloadTest, AChangedFileRunsItsStepOnceItIsStillAndNoOther) {
    const auto audit = open();
    const auto watched = folder_.write("watched", "one");
    server::Reloader reloader({step("other"), step("certificates", {watched})}, *audit, log_);
    EXPECT_TRUE(reloader.run_changed());
    folder_.write("watched", "two, longer");
    EXPECT_TRUE(reloader.run_changed());
    EXPECT_TRUE(ran_.empty()) << "the first look after a change may see half a file";
    EXPECT_TRUE(reloader.run_changed());
    EXPECT_TRUE(reloader.run_changed());
    EXPECT_EQ(ran_, (std::vector<std::string>{"certificates"}));
    EXPECT_EQ(records().front(), "reload files changed certificates");
}

TEST_F(ReloadTest, AFileThatGoesOrIsReplacedIsAChange) {
    const auto audit = open();
    const auto watched = folder_.write("watched", "one");
    server::Reloader reloader({step("certificates", {watched})}, *audit, log_);
    const auto looks_until_run = [&] {
        const auto before = ran_.size();
        for (int i = 0; i < 3; ++i) reloader.run_changed();
        return ran_.size() - before;
    };
    std::filesystem::rename(folder_.write("fresh", "two"), watched);
    EXPECT_EQ(looks_until_run(), 1U);
    std::filesystem::remove(watched);
    EXPECT_EQ(looks_until_run(), 1U);
    folder_.write("watched", "two");
    EXPECT_EQ(looks_until_run(), 1U);
    EXPECT_EQ(looks_until_run(), 0U);
}

TEST_F(ReloadTest, ABrokenFileIsReadOnceForEachOfItsChanges) {
    const auto audit = open();
    const auto watched = folder_.write("watched", "one");
    broken_ = "certificates";
    server::Reloader reloader({step("certificates", {watched})}, *audit, log_);
    folder_.write("watched", "broken");
    int failures = 0;
    for (int i = 0; i < 5; ++i) failures += reloader.run_changed() ? 0 : 1;
    EXPECT_EQ(failures, 1);
    EXPECT_EQ(ran_.size(), 1U);
}

TEST_F(ReloadTest, ASignalReadsAChangedFileAtOnceAndNotOnceMore) {
    const auto audit = open();
    const auto watched = folder_.write("watched", "one");
    server::Reloader reloader({step("certificates", {watched})}, *audit, log_);
    folder_.write("watched", "two, longer");
    EXPECT_TRUE(reloader.run_all("SIGHUP"));
    for (int i = 0; i < 3; ++i) reloader.run_changed();
    EXPECT_EQ(ran_.size(), 1U);
}

TEST_F(ReloadTest, NothingIsReadAnewThatCannotBeRecorded) {
    const auto audit = open();
    audit->event("start", {});
    server::Reloader reloader({step("policy")}, *audit, log_);
    rlimit old{};
    getrlimit(RLIMIT_FSIZE, &old);
    const rlimit full{1, old.rlim_max};
    std::signal(SIGXFSZ, SIG_IGN);
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
    EXPECT_FALSE(reloader.run_all("SIGHUP"));
    setrlimit(RLIMIT_FSIZE, &old);
    EXPECT_TRUE(ran_.empty());
}

}  // namespace
}  // namespace tests
