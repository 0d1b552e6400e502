// A token whose module runs in worker processes: what happens when one of them ends, hangs or is
// not what it should be. What every token promises is in token_contract_test.cpp.
#include <gtest/gtest.h>

#include <signal.h>  // NOLINT(modernize-deprecated-headers): POSIX names
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <thread>

#include "tests/hsm/raw_session.h"
#include "tests/hsm/workers_fixture.h"
#include "tests/support/expect_error.h"
#include "tests/support/faulty_pkcs11/fault_control.h"

namespace tests {
namespace {

using namespace std::chrono_literals;
using base::as_bytes;
using hsm::KeyId;
using hsm::KeyKind;
using hsm::KeyProfile;

using Clock = std::chrono::steady_clock;

class RemoteToken : public WorkersOfAToken {};

TEST_F(RemoteToken, AKilledWorkerCostsNoRepeatableCallAndGivesNoWrongAnswer) {
    auto token = open();
    const KeyId key = KeyId::random();
    token->generate_aes_key(key, "", KeyProfile::sealed);
    const auto encrypted = token->encrypt(key, as_bytes("aad"), as_bytes("secret"));
    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0};
    std::atomic<int> failed{0};
    std::atomic<int> done{0};
    std::vector<std::thread> callers;
    for (int i = 0; i < 4; ++i) {
        callers.emplace_back([&] {
            while (!stop) {
                try {
                    const auto opened =
                        token->decrypt(key, encrypted.iv, as_bytes("aad"), encrypted.ciphertext);
                    if (opened.expose_text() != "secret") ++wrong;
                    ++done;
                } catch (const base::Error& error) {
                    ADD_FAILURE() << error.what();
                    ++failed;
                }
            }
        });
    }
    for (int round = 0; round < 5; ++round) {
        const auto both = wait_for_both();
        const int before = done;
        ::kill(both.front(), SIGKILL);  // the older one serves
        EXPECT_TRUE(comes_true([&] { return done > before + 100; }));
    }
    stop = true;
    for (auto& caller : callers) caller.join();
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(failed, 0);
}

TEST_F(RemoteToken, WithBothWorkersKilledItIsBackWithinTwoSeconds) {
    auto token = open();
    const KeyId key = KeyId::random();
    token->generate_aes_key(key, "", KeyProfile::sealed);
    const auto encrypted = token->encrypt(key, {}, as_bytes("secret"));
    std::vector<Clock::duration> taken;
    for (int round = 0; round < 3; ++round) {
        for (const pid_t worker : wait_for_both()) ::kill(worker, SIGKILL);
        const auto begin = Clock::now();
        EXPECT_TRUE(comes_true([&] {
            try {
                return token->decrypt(key, encrypted.iv, {}, encrypted.ciphertext).expose_text() ==
                       "secret";
            } catch (const base::Error& error) {
                EXPECT_EQ(error.code(), base::ErrorCode::unavailable);
                return false;
            }
        }));
        taken.push_back(Clock::now() - begin);
        // Who took over has logged in, too; wait_for_both() is for the one behind it.
        EXPECT_TRUE(comes_true([&] { return logins_ == seen_logins_ + 2; }));
        ++seen_logins_;
    }
    std::sort(taken.begin(), taken.end());
    EXPECT_LT(taken[1], 2s);  // a moment in which others have the machine is not the worker's
}

TEST_F(RemoteToken, AHungWorkerCostsOneDeadlineAndIsKilled) {
    config_.deadline = 500ms;
    config_.heartbeat = 1h;  // the call is to find it out
    auto token = open();
    const auto both = wait_for_both();
    ::kill(both.front(), SIGSTOP);
    const auto begin = Clock::now();
    EXPECT_ERROR_SAYING(unavailable, "not available", token->check());
    EXPECT_GE(Clock::now() - begin, config_.deadline);
    EXPECT_LT(Clock::now() - begin, 2 * config_.deadline);
    token->check();
    EXPECT_TRUE(comes_true([&] {
        const auto left = workers();
        return left.size() == 2 && left.front() == both.back();
    }));
}

// A module that hangs in one call: its caller waits for one deadline, the calls of others go on, on
// the same worker and then on the next, none of them failing.
TEST_F(RemoteToken, AHungCallCostsItsOwnCallerOneDeadlineAndNobodyElseAnything) {
    const FaultControl faults(fixture_.folder(), softhsm_library);
    config_.token.module = faults.library();
    config_.deadline = 1500ms;
    auto token = open();
    const KeyId key = KeyId::random();
    const KeyId mac_key = KeyId::random();
    token->generate_aes_key(key, "", KeyProfile::sealed);
    token->generate_key(mac_key, "", KeyKind::hmac_sha_256, KeyProfile::sealed);
    const auto encrypted = token->encrypt(key, {}, as_bytes("secret"));
    const auto mac = token->mac(mac_key, as_bytes("message"));
    const auto both = wait_for_both();
    faults.set("C_Sign hang times=1");
    std::atomic<bool> stop{false};
    std::atomic<int> done{0};
    std::vector<std::thread> others;
    for (int i = 0; i < 2; ++i) {
        others.emplace_back([&] {
            while (!stop) {
                EXPECT_NO_THROW(
                    static_cast<void>(token->decrypt(key, encrypted.iv, {}, encrypted.ciphertext)));
                ++done;
            }
        });
    }
    const auto begin = Clock::now();
    EXPECT_ERROR_SAYING(unavailable, "not available", token->mac(mac_key, as_bytes("message")));
    EXPECT_GE(Clock::now() - begin, config_.deadline);
    EXPECT_LT(Clock::now() - begin, 2 * config_.deadline);
    EXPECT_GT(done, 0);
    EXPECT_EQ(token->mac(mac_key, as_bytes("message")), mac);
    wait_for_both();
    EXPECT_EQ(workers().front(), both.back());
    stop = true;
    for (auto& other : others) other.join();
    EXPECT_EQ(faults.calls(Function::C_Finalize), 0U);
}

// The moment in which everything hangs: callers get their answers from the next worker.
TEST_F(RemoteToken, CallsThatHangWithAnotherAreAskedAgainOfTheNextWorker) {
    const FaultControl faults(fixture_.folder(), softhsm_library);
    config_.token.module = faults.library();
    config_.deadline = 1500ms;
    auto token = open();
    const KeyId key = KeyId::random();
    token->generate_aes_key(key, "", KeyProfile::sealed);
    const auto encrypted = token->encrypt(key, {}, as_bytes("secret"));
    wait_for_both();
    faults.set("C_Decrypt hang times=2");
    std::thread first([&] {
        EXPECT_ERROR(unavailable, static_cast<void>(
                                      token->decrypt(key, encrypted.iv, {}, encrypted.ciphertext)));
    });
    EXPECT_TRUE(comes_true([&] { return faults.hanging() == 1; }));
    // A batch has more time: it is still there when the first caller's deadline ends the worker.
    const std::vector<hsm::DecryptItem> items(200, {key, encrypted.iv, {}, encrypted.ciphertext});
    for (const auto& opened : token->decrypt_many(items)) EXPECT_TRUE(opened.has_value());
    first.join();
    EXPECT_EQ(faults.struck(std::size_t{0}), 2U);
}

TEST_F(RemoteToken, WhoStandsByIsReplacedWhenItEnds) {
    auto token = open();
    const auto both = wait_for_both();
    ::kill(both.back(), SIGKILL);
    EXPECT_TRUE(comes_true([&] {
        const auto now = workers();
        return now.size() == 2 && now.back() != both.back();
    }));
    EXPECT_EQ(workers().front(), both.front());
    token->check();
}

TEST_F(RemoteToken, WhoStandsByAndHangsIsReplacedBeforeItIsNeeded) {
    config_.deadline = 500ms;
    config_.heartbeat = 20ms;
    auto token = open();
    const auto both = wait_for_both();
    ::kill(both.back(), SIGSTOP);
    const auto now = wait_for_both();
    EXPECT_EQ(now.front(), both.front());
    EXPECT_NE(now.back(), both.back());
    token->check();
}

TEST_F(RemoteToken, AnIdleWorkerThatHangsIsReplacedBeforeItIsNeeded) {
    config_.deadline = 500ms;
    config_.heartbeat = 20ms;
    auto token = open();
    const auto both = wait_for_both();
    ::kill(both.front(), SIGSTOP);
    EXPECT_EQ(wait_for_both().front(), both.back());
    EXPECT_NO_THROW(token->check());
}

// It is the module that hangs, in a process which is well.
TEST_F(RemoteToken, WhoStandsByWithAHungModuleIsReplaced) {
    const FaultControl faults(fixture_.folder(), softhsm_library);
    config_.token.module = faults.library();
    config_.deadline = 500ms;
    config_.heartbeat = 20ms;
    auto token = open();
    const auto both = wait_for_both();
    faults.set("C_GetSessionInfo hang times=1");  // of one of the two
    const auto now = wait_for_both();
    EXPECT_EQ(std::count(both.begin(), both.end(), now.front()), 1);
    EXPECT_EQ(std::count(both.begin(), both.end(), now.back()), 0);
    EXPECT_NO_THROW(token->check());
}

// It holds the PIN, and hangs in the module while it does.
TEST_F(RemoteToken, TheReadBackProgramEndsWithTheWorkerThatStartedIt) {
    const FaultControl faults(fixture_.folder(), softhsm_library);
    config_.token.module = faults.library();
    config_.token.readback_program = STRONGROOM_READBACK;
    auto token = open();
    const auto both = wait_for_both();
    faults.set("C_Login hang times=1");
    std::thread maker([&] {
        EXPECT_ERROR(unavailable, token->generate_aes_key(KeyId::random(), "", KeyProfile::sealed));
    });
    EXPECT_TRUE(comes_true([&] { return faults.hanging() == 1; }));
    const auto readers = children_of(both.front(), "strongroom-key-");
    EXPECT_EQ(readers.size(), 1U);
    ::kill(both.front(), SIGKILL);
    maker.join();
    for (const pid_t reader : readers) EXPECT_TRUE(comes_true([&] { return !is_running(reader); }));
    faults.clear();
}

TEST_F(RemoteToken, EachKindOfKeyIsUsedAcrossWorkers) {
    auto token = open();
    const KeyId mac_key = KeyId::random();
    const KeyId pair = KeyId::random();
    token->generate_key(mac_key, "", KeyKind::hmac_sha_256, KeyProfile::sealed);
    token->generate_key(pair, "", KeyKind::ecdsa_p256, KeyProfile::sealed);
    const auto mac = token->mac(mac_key, as_bytes("message"));
    const auto signature = token->sign(pair, KeyKind::ecdsa_p256, as_bytes("message"));
    const auto public_key = token->public_key(pair);
    for (const pid_t worker : wait_for_both()) ::kill(worker, SIGKILL);
    EXPECT_TRUE(comes_true([&] {
        try {
            return token->verify_mac(mac_key, as_bytes("message"), mac);
        } catch (const base::Error&) {
            return false;
        }
    }));
    EXPECT_TRUE(token->verify(pair, KeyKind::ecdsa_p256, as_bytes("message"), signature));
    EXPECT_EQ(token->public_key(pair), public_key);
}

// A restored or exchanged token can have another key under an id.
TEST_F(RemoteToken, ANewWorkerDoesNotUseAnotherKeyUnderTheSameId) {
    auto token = open();
    const KeyId key = KeyId::random();
    const KeyId good = KeyId::random();
    token->generate_aes_key(key, "", KeyProfile::sealed);
    token->generate_aes_key(good, "", KeyProfile::sealed);
    const auto encrypted = token->encrypt(key, {}, as_bytes("secret"));
    const auto of_good = token->encrypt(good, {}, as_bytes("secret"));
    {
        const RawSession raw(fixture_);
        raw.destroy(raw.find(key));
        raw.generate_key(base::as_text(key.bytes()));
    }
    for (const pid_t worker : wait_for_both()) ::kill(worker, SIGKILL);
    EXPECT_TRUE(comes_true([&] {
        try {
            return token->decrypt(good, of_good.iv, {}, of_good.ciphertext).size() == 6;
        } catch (const base::Error&) {
            return false;
        }
    }));
    EXPECT_ERROR_SAYING(unavailable, "another key", token->encrypt(key, {}, as_bytes("x")));
    EXPECT_ERROR_SAYING(unavailable, "another key",
                        token->decrypt(key, encrypted.iv, {}, encrypted.ciphertext));
    const hsm::DecryptItem item{key, encrypted.iv, {}, encrypted.ciphertext};
    EXPECT_ERROR_SAYING(unavailable, "another key",
                        static_cast<void>(token->decrypt_many({&item, 1})));
}

TEST_F(RemoteToken, MoreCallersThanChannelsWaitForOneAnother) {
    config_.token.max_sessions = 1;
    auto token = open();
    std::vector<std::thread> callers;
    for (int i = 0; i < 8; ++i) {
        callers.emplace_back([&] {
            for (int call = 0; call < 20; ++call) EXPECT_NO_THROW(token->check());
        });
    }
    for (auto& caller : callers) caller.join();
}

TEST_F(RemoteToken, ABatchBeyondOneRequestIsWhole) {
    auto token = open();
    const KeyId key = KeyId::random();
    token->generate_aes_key(key, "", KeyProfile::sealed);
    const base::Bytes aad(8192, 3);
    const std::vector<hsm::EncryptItem> items(700, {key, aad, as_bytes("secret")});
    const auto made = token->encrypt_many(items);
    ASSERT_EQ(made.size(), items.size());
    std::vector<hsm::DecryptItem> back;
    for (const auto& each : made) back.push_back({key, each->iv, aad, each->ciphertext});
    back[650].aad = {};
    const auto opened = token->decrypt_many(back);
    ASSERT_EQ(opened.size(), items.size());
    for (std::size_t i = 0; i < opened.size(); ++i) EXPECT_EQ(opened[i].has_value(), i != 650);
}

TEST_F(RemoteToken, AWrongPinIsRefusedWithTheWorkersWords) {
    write_pin("not the PIN");
    EXPECT_ERROR_SAYING(failed_precondition, "refused the user PIN", open());
}

TEST_F(RemoteToken, ARefusedPinIsNotShownToTheTokenAgain) {
    const std::string starts = fixture_.folder() / "starts";
    make_script("#!/bin/sh\necho start >> " + starts + "\nexec " + STRONGROOM_TOKEN_WORKER + "\n");
    const auto started = [&] {
        std::ifstream file(starts);
        return std::count(std::istreambuf_iterator(file), {}, '\n');
    };
    auto token = open();
    const auto both = wait_for_both();
    write_pin("not the PIN");
    ::kill(both.back(), SIGKILL);
    // The next one's login is refused, and it may be gone before anybody sees it; none is started
    // after it.
    EXPECT_TRUE(comes_true([&] { return started() == 3; }));
    EXPECT_TRUE(comes_true([&] { return workers() == std::vector{both.front()}; }));
    token->check();
    ::kill(both.front(), SIGKILL);
    EXPECT_TRUE(comes_true([&] {
        try {
            token->check();
            return false;
        } catch (const base::Error& error) {
            return error.detail() == "no token worker can be opened";
        }
    }));
    EXPECT_TRUE(comes_true([] { return workers().empty(); }));
    EXPECT_EQ(started(), 3);
}

TEST_F(RemoteToken, AMissingPinFileIsNamed) {
    std::filesystem::remove(config_.pin_file);
    EXPECT_ERROR_SAYING(invalid_argument, "user.pin", open());
}

TEST_F(RemoteToken, APinThatWasTypedIsGivenToEachWorker) {
    config_.pin_file.clear();
    auto token = hsm::open_remote_token(config_, fixture_.pin(), log_);
    for (const pid_t worker : wait_for_both()) ::kill(worker, SIGKILL);
    EXPECT_TRUE(comes_true([&] {
        try {
            token->check();
            return true;
        } catch (const base::Error&) {
            return false;
        }
    }));
}

TEST_F(RemoteToken, AMissingProgramIsNamed) {
    config_.program = "/nowhere/strongroom-token-worker";
    EXPECT_ERROR_SAYING(failed_precondition, "/nowhere/strongroom-token-worker", open());
}

TEST_F(RemoteToken, AProgramThatEndsOrTalksNonsenseIsNoWorker) {
    make_script("#!/bin/sh\nexit 1\n");
    EXPECT_ERROR(unavailable, open());
    make_script("#!/bin/sh\nprintf '\\0\\0\\0\\003abc' >&0\nexec sleep 60\n");
    EXPECT_ERROR(internal, open());
    EXPECT_TRUE(comes_true([] { return workers().empty(); }));
}

TEST_F(RemoteToken, EveryLoginButTheFirstIsToldOf) {
    auto token = open();
    const auto both = wait_for_both();
    EXPECT_EQ(logins_, 1);
    ::kill(both.front(), SIGKILL);
    wait_for_both();
    EXPECT_EQ(logins_, 2);
}

TEST_F(RemoteToken, NoWorkerOutlivesTheToken) {
    auto token = open();
    wait_for_both();
    token.reset();
    EXPECT_TRUE(comes_true([] { return workers().empty(); }));
}

}  // namespace
}  // namespace tests
