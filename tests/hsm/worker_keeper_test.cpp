// When workers are opened, and asked whether they answer, beside the work that they do.
#include <gtest/gtest.h>

#include <signal.h>  // NOLINT(modernize-deprecated-headers): POSIX names
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <future>

#include "tests/hsm/workers_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/faulty_pkcs11/fault_control.h"

namespace tests {
namespace {

using namespace std::chrono_literals;
using hsm::KeyId;
using hsm::KeyProfile;

using Clock = std::chrono::steady_clock;

class WorkerKeeper : public WorkersOfAToken {};

// A SoftHSM that opens its token may lose what another process counts there meanwhile.
class WhileOneIsOpened : public WorkersOfAToken {
protected:
    WhileOneIsOpened() {
        const std::string folder = fixture_.folder().string();
        make_script("#!/bin/sh\nif [ -e " + folder + "/first ]; then : > " + folder +
                    "/opening; while [ ! -e " + folder +
                    "/go ]; do /bin/sleep 0.01; done; fi\n: > " + folder + "/first\nexec " +
                    STRONGROOM_TOKEN_WORKER + "\n");
    }
    bool is_opening() const { return std::filesystem::exists(fixture_.folder() / "opening"); }
    void go_on() { std::ofstream(fixture_.folder() / "go") << "go"; }
};

TEST_F(WhileOneIsOpened, NoKeyIsMade) {
    auto token = open();
    ASSERT_TRUE(comes_true([&] { return is_opening(); }));
    const KeyId key = KeyId::random();
    auto made = std::async(std::launch::async,
                           [&] { token->generate_aes_key(key, "", KeyProfile::sealed); });
    EXPECT_EQ(made.wait_for(500ms), std::future_status::timeout);  // longer than it takes
    EXPECT_FALSE(token->find_key(key)) << "everything else goes on";
    go_on();
    EXPECT_NO_THROW(made.get());
    EXPECT_TRUE(token->find_key(key));
}

TEST_F(WhileOneIsOpened, NoKeyIsDestroyed) {
    auto token = open();
    ASSERT_TRUE(comes_true([&] { return is_opening(); }));
    auto destroyed = std::async(
        std::launch::async, [&] { EXPECT_ERROR(not_found, token->destroy_key(KeyId::random())); });
    EXPECT_EQ(destroyed.wait_for(500ms), std::future_status::timeout);
    go_on();
    destroyed.get();
}

TEST_F(WhileOneIsOpened, AKeyWaitsForAnOpeningThatHangsNoLongerThanHalfADeadline) {
    config_.deadline = 2s;
    auto token = open();
    ASSERT_TRUE(comes_true([&] { return is_opening(); }));
    const auto begin = Clock::now();
    EXPECT_NO_THROW(token->generate_aes_key(KeyId::random(), "", KeyProfile::sealed));
    EXPECT_GE(Clock::now() - begin, config_.deadline / 2);
}

TEST_F(WorkerKeeper, NoWorkerIsOpenedWhileAKeyIsMade) {
    const FaultControl faults(fixture_.folder(), softhsm_library);
    config_.token.module = faults.library();
    auto token = open();
    const auto both = wait_for_both();
    constexpr auto making = 3000ms;
    faults.set("C_GenerateKey delay=" + std::to_string(making.count()) + " times=1");
    const auto begin = Clock::now();
    auto made = std::async(std::launch::async, [&] {
        token->generate_aes_key(KeyId::random(), "", KeyProfile::sealed);
    });
    EXPECT_TRUE(comes_true([&] { return faults.struck(std::size_t{0}) == 1; }));
    ::kill(both.back(), SIGKILL);
    std::size_t most = 0;
    // Ten times as long as the next one would wait, unless the machine stands still meanwhile.
    const auto end = std::min(Clock::now() + 500ms, begin + making / 2);
    EXPECT_TRUE(comes_true([&] { return workers() == std::vector{both.front()}; }));
    while (Clock::now() < end) most = std::max(most, workers().size());
    EXPECT_LE(most, 1U);
    EXPECT_NO_THROW(made.get());
    wait_for_both();
}

// The opening begins while the one who orders the key waits for a channel.
TEST_F(WhileOneIsOpened, NoKeyIsMadeByWhoWaitedForAChannelBefore) {
    const FaultControl faults(fixture_.folder(), softhsm_library);
    config_.token.module = faults.library();
    config_.token.max_sessions = 1;
    auto token = open();
    faults.set("C_GenerateRandom delay=1500 times=1");
    auto busy = std::async(std::launch::async, [&] {
        base::Bytes random(16);
        token->random(random);
    });
    ASSERT_TRUE(comes_true([&] { return faults.struck(std::size_t{0}) == 1; }));
    auto made = std::async(std::launch::async, [&] {
        token->generate_aes_key(KeyId::random(), "", KeyProfile::sealed);
    });
    ASSERT_TRUE(comes_true([&] { return is_opening(); }));
    busy.get();
    EXPECT_EQ(made.wait_for(500ms), std::future_status::timeout);  // longer than it takes
    EXPECT_NO_THROW(token->check()) << "the channel is free for others";
    go_on();
    EXPECT_NO_THROW(made.get());
}

bool answers(hsm::Token& token) {
    try {
        token.check();
        return true;
    } catch (const base::Error& error) {
        EXPECT_EQ(error.code(), base::ErrorCode::unavailable);
        return false;
    }
}

// Each worker has a breaker of its own.
TEST_F(WorkerKeeper, ATokenThatIsAwayIsTriedOnceASecondAndIsBackInBothWorkers) {
    const FaultControl faults(fixture_.folder(), softhsm_library);
    config_.token.module = faults.library();
    config_.heartbeat = 100ms;
    auto token = open();
    const KeyId key = KeyId::random();
    token->generate_aes_key(key, "", KeyProfile::sealed);
    const auto encrypted = token->encrypt(key, {}, base::as_bytes("secret"));
    const auto both = wait_for_both();
    faults.forget_counts();
    faults.set("behave away");
    const auto begun = Clock::now();
    EXPECT_TRUE(comes_true([&] {
        EXPECT_FALSE(answers(*token));
        return faults.calls(Function::C_Initialize) >= 4;
    }));
    const auto passed = std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - begun);
    // Who stands by may be the first to find it gone.
    EXPECT_LE(faults.calls(Function::C_Initialize), 2U + static_cast<unsigned>(passed.count()));

    faults.clear();
    EXPECT_TRUE(comes_true([&] { return answers(*token); }));
    ASSERT_EQ(workers(), both) << "nobody was replaced";
    ::kill(both.front(), SIGKILL);
    EXPECT_EQ(token->decrypt(key, encrypted.iv, {}, encrypted.ciphertext).expose_text(), "secret");
}

TEST_F(WorkerKeeper, WhoStandsByIsAskedAgainWhenTheTokenIsBack) {
    const FaultControl faults(fixture_.folder(), softhsm_library);
    config_.token.module = faults.library();
    config_.heartbeat = 100ms;
    config_.deadline = 500ms;
    auto token = open();
    const auto both = wait_for_both();
    faults.set("behave away");
    EXPECT_TRUE(comes_true([&] { return !answers(*token); }));
    faults.clear();
    EXPECT_TRUE(comes_true([&] { return answers(*token); }));
    ::kill(both.back(), SIGSTOP);
    EXPECT_TRUE(comes_true([&] {
        const auto now = workers();
        return now.size() == 2 && now.front() == both.front() && now.back() != both.back();
    }));
}

std::chrono::microseconds processor_time() {
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    return std::chrono::seconds(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           std::chrono::microseconds(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

TEST_F(WorkerKeeper, WhoWasAskedBeforeThePinWasRefusedIsHeard) {
    const FaultControl faults(fixture_.folder(), softhsm_library);
    config_.token.module = faults.library();
    config_.heartbeat = 20ms;
    const std::string starts = fixture_.folder() / "starts";
    make_script("#!/bin/sh\necho start >> " + starts + "\nexec " + STRONGROOM_TOKEN_WORKER + "\n");
    const auto started = [&] {
        std::ifstream file(starts);
        return std::count(std::istreambuf_iterator(file), {}, '\n');
    };
    auto token = open();
    const auto both = wait_for_both();
    faults.set("C_GetSessionInfo delay=2000 times=2\nC_GenerateRandom delay=4000 times=1");
    EXPECT_TRUE(comes_true([&] { return faults.struck(std::size_t{0}) == 2; }));
    write_pin("not the PIN");
    ::kill(both.back(), SIGKILL);
    EXPECT_TRUE(comes_true([&] { return started() == 3; }));
    EXPECT_TRUE(comes_true([&] { return workers() == std::vector{both.front()}; }));
    const auto before = processor_time();
    base::Bytes random(16);
    token->random(random);  // takes longer than the answer
    EXPECT_LT(processor_time() - before, 500ms);
}

}  // namespace
}  // namespace tests
