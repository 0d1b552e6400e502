// A token and its workers, as tests of what becomes of those open it.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>

#include "tests/hsm/processes.h"
#include "tests/hsm/remote_fixture.h"

namespace tests {

// A SoftHSM token opened by workers, whose settings a test changes before it opens it.
class WorkersOfAToken : public testing::Test {
protected:
    WorkersOfAToken() {
        config_.token.logged_in_again = [this] { ++logins_; };
    }
    std::unique_ptr<hsm::Token> open() { return hsm::open_remote_token(config_, {}, log_); }
    void write_pin(std::string_view pin) {
        std::ofstream(config_.pin_file, std::ios::trunc) << pin;
    }
    // Once one that logged in since the last wait stands by.
    std::vector<pid_t> wait_for_both() {
        std::vector<pid_t> both;
        EXPECT_TRUE(comes_true([&] { return logins_ > seen_logins_; }));
        seen_logins_ = logins_;
        EXPECT_TRUE(comes_true([&] { return (both = workers()).size() == 2; }));
        return both;
    }
    void make_script(const std::string& content) {
        config_.program = fixture_.folder() / "program";
        std::ofstream(config_.program) << content;
        std::filesystem::permissions(config_.program, std::filesystem::perms::owner_all);
    }

    base::Log log_{"hsm_tests", base::LogLevel::error};
    Remote<SoftHsmToken> fixture_;
    hsm::WorkerConfig config_ = fixture_.worker_config();
    std::atomic<int> logins_{0};
    int seen_logins_ = 0;
};

}  // namespace tests
