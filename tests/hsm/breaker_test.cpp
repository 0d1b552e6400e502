// When calls are let through to a token that is gone, and when they are refused.
#include "hsm/breaker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "tests/support/expect_error.h"

namespace tests {
namespace {

using hsm::Breaker;
using std::chrono::milliseconds;

class BreakerRule : public testing::Test {
protected:
    static bool never() { return false; }
    // A call that finds the token gone; true: it healed it, or was answered meanwhile.
    void fail_once() {
        Breaker::Visit visit = breaker_.enter();
        if (!visit.heals()) {
            ASSERT_TRUE(breaker_.take_over(visit, never));
        }
        visit.fail();
    }

    base::Log log_{"hsm_tests", base::LogLevel::error};
    std::atomic<std::int64_t> now_{0};
    Breaker breaker_{log_, {milliseconds(1000), milliseconds(50)}, [this] {
                         return Breaker::Clock::time_point(milliseconds(now_.load()));
                     }};
};

TEST_F(BreakerRule, OneCallHealsAndItsAnswerClosesAgain) {
    {
        Breaker::Visit visit = breaker_.enter();
        EXPECT_FALSE(visit.heals());
        EXPECT_TRUE(breaker_.take_over(visit, never));
        EXPECT_TRUE(visit.heals());
        EXPECT_FALSE(breaker_.is_closed());
    }
    EXPECT_TRUE(breaker_.is_closed());
    EXPECT_NO_THROW(breaker_.require_closed());
}

TEST_F(BreakerRule, WhatAnotherCallHealedIsNotHealedAgain) {
    Breaker::Visit visit = breaker_.enter();
    EXPECT_FALSE(breaker_.take_over(visit, [] { return true; }));
    EXPECT_FALSE(visit.heals());
    EXPECT_TRUE(breaker_.is_closed());
}

TEST_F(BreakerRule, WhileOpenCallsAreRefusedAtOnceAndOneASecondIsTheProbe) {
    fail_once();
    int probes = 0;
    for (now_ = 0; now_ < 10'000; now_ += 10) {
        try {
            Breaker::Visit visit = breaker_.enter();
            EXPECT_TRUE(visit.heals());
            ++probes;
            EXPECT_ERROR(unavailable, breaker_.enter());
            EXPECT_ERROR(unavailable, breaker_.require_closed());
            visit.fail();
        } catch (const base::Error& error) {
            EXPECT_EQ(error.code(), base::ErrorCode::unavailable);
        }
    }
    EXPECT_EQ(probes, 9);
}

TEST_F(BreakerRule, AProbeThatIsAnsweredClosesForAll) {
    fail_once();
    EXPECT_ERROR(unavailable, breaker_.enter());
    now_ = 1000;
    { EXPECT_TRUE(breaker_.enter().heals()); }
    EXPECT_FALSE(breaker_.enter().heals());
}

TEST_F(BreakerRule, WhatWasNotTriedLeavesItAsItWas) {
    {
        Breaker::Visit visit = breaker_.enter();
        ASSERT_TRUE(breaker_.take_over(visit, never));
        visit.leave_untried();
    }
    EXPECT_TRUE(breaker_.is_closed());
    fail_once();
    now_ = 1000;
    breaker_.enter().leave_untried();
    EXPECT_FALSE(breaker_.is_closed());
}

TEST_F(BreakerRule, ACallThatBeganBeforeItOpenedIsRefusedOrIsTheProbe) {
    Breaker::Visit early = breaker_.enter();
    fail_once();
    EXPECT_ERROR(unavailable, breaker_.take_over(early, never));
    EXPECT_FALSE(early.heals());
    now_ = 1000;
    EXPECT_TRUE(breaker_.take_over(early, never));
}

TEST_F(BreakerRule, WhileTheFirstHealsOthersWaitForItAMomentAndNoLonger) {
    std::promise<void> begun;
    std::promise<void> go_on;
    std::thread first([&] {
        Breaker::Visit visit = breaker_.enter();
        breaker_.take_over(visit, never);
        begun.set_value();
        go_on.get_future().wait();
    });
    begun.get_future().wait();
    EXPECT_ERROR(unavailable, breaker_.enter());
    go_on.set_value();
    first.join();
    EXPECT_FALSE(breaker_.enter().heals());
}

TEST_F(BreakerRule, WhoWaitedForTheFirstGoesOnWhenItHealed) {
    Breaker patient(log_, {milliseconds(1000), std::chrono::minutes(5)}, Breaker::Clock::now);
    std::promise<void> begun;
    std::thread second;
    bool heals = true;
    {
        Breaker::Visit visit = patient.enter();
        ASSERT_TRUE(patient.take_over(visit, never));
        second = std::thread([&] {
            begun.set_value();
            heals = patient.enter().heals();
        });
        begun.get_future().wait();
    }
    second.join();
    EXPECT_FALSE(heals);
}

}  // namespace
}  // namespace tests
