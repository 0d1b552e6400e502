// A token whose module runs in worker processes and can't be brought back within one: the worker
// ends, by itself or by its keeper, and the next one serves with the same keys.
#include <gtest/gtest.h>

#include <chrono>
#include <mutex>
#include <set>
#include <thread>

#include "tests/hsm/workers_fixture.h"
#include "tests/support/faulty_pkcs11/fault_control.h"

namespace tests {
namespace {

using namespace std::chrono_literals;
using base::as_bytes;
using hsm::KeyId;

class BrokenModule : public WorkersOfAToken {
protected:
    BrokenModule() {
        config_.token.module = faults_.library();
        config_.heartbeat = 1h;  // the calls of the tests are all that is asked
    }
    ~BrokenModule() override { faults_.clear(); }

    // The token with two keys that serve, on the first of two workers, which are given back.
    std::vector<pid_t> open_with_keys() {
        token_ = open();
        for (const KeyId key : {key_, other_key_})
            token_->generate_aes_key(key, "", hsm::KeyProfile::sealed);
        sealed_ = token_->encrypt(key_, {}, as_bytes("secret"));
        other_sealed_ = token_->encrypt(other_key_, {}, as_bytes("other"));
        EXPECT_EQ(use(), "");
        return wait_for_both();
    }
    // With workers of its own. Who takes over logs in like who is opened, so that after a takeover
    // the next may still be opening when wait_for_both() is content.
    std::vector<pid_t> open_anew() {
        token_.reset();
        seen_logins_ = logins_;
        token_ = open();
        EXPECT_EQ(use(), "");
        return wait_for_both();
    }
    // "", the word of an error, or "WRONG".
    std::string use() {
        try {
            const auto opened = token_->decrypt(key_, sealed_.iv, {}, sealed_.ciphertext);
            const auto other =
                token_->decrypt(other_key_, other_sealed_.iv, {}, other_sealed_.ciphertext);
            const bool is_right =
                opened.equals(as_bytes("secret")) && other.equals(as_bytes("other"));
            return is_right ? "" : "WRONG";
        } catch (const base::Error& error) {
            return std::string(base::to_string(error.code()));
        }
    }

    const FaultControl faults_{fixture_.folder(), softhsm_library};
    std::unique_ptr<hsm::Token> token_;
    const KeyId key_ = KeyId::random();
    const KeyId other_key_ = KeyId::random();
    hsm::Encrypted sealed_, other_sealed_;
};

// With a deadline that is never reached, so that nobody else ends the worker.
TEST_F(BrokenModule, AWorkerWithACallThatBarsTheWayBackEndsByItselfAndBothCallersAreAnswered) {
    config_.deadline = 1h;
    const auto both = open_with_keys();
    faults_.set("C_Decrypt nth=1 hang\nC_DecryptInit nth=2 code=CKR_DEVICE_REMOVED");
    std::thread hanging([&] { EXPECT_EQ(use(), ""); });
    EXPECT_TRUE(comes_true([&] { return faults_.hanging() == 1; }));
    EXPECT_EQ(use(), "");
    EXPECT_EQ(faults_.struck(std::size_t{1}), 1U);
    EXPECT_EQ(faults_.calls(Function::C_Finalize), 0U) << "the call still hangs in that module";
    EXPECT_TRUE(comes_true([&] { return !is_running(both.front()); }));
    faults_.clear();  // for a worker that did not end
    hanging.join();
    EXPECT_EQ(wait_for_both().front(), both.back());
}

TEST_F(BrokenModule, AWorkerWhoseModuleWillNotBeInitialisedEndsByItselfAndTheNextServes) {
    config_.deadline = 1h;
    const auto both = open_with_keys();
    const auto initialised = faults_.calls(Function::C_Initialize);
    faults_.set("C_DecryptInit nth=1 code=CKR_DEVICE_REMOVED\nC_Initialize code=CKR_DEVICE_ERROR");
    std::set<std::string> seen;
    EXPECT_TRUE(comes_true([&] {
        seen.insert(use());
        return seen.count("") != 0;
    }));
    EXPECT_EQ(seen, (std::set<std::string>{"", "unavailable"}));
    EXPECT_GE(faults_.calls(Function::C_Initialize), initialised + 5);
    EXPECT_FALSE(is_running(both.front()));
    EXPECT_EQ(workers().front(), both.back());
}

// While one hangs that way its other callers are refused; nobody gets another key's answer, and all
// are served when the next worker has its place.
TEST_F(BrokenModule, AReconnectThatHangsCostsTheWorkerItsLifeAndNoKeyItsIdentity) {
    config_.deadline = 2000ms;
    open_with_keys();
    for (const std::string& function :
         std::vector<std::string>{"C_Finalize", "C_Initialize", "C_Login", "C_OpenSession"}) {
        const auto both = open_anew();
        std::atomic<bool> stop{false};
        std::mutex mutex;
        std::set<std::string> seen;
        std::vector<std::thread> callers;
        for (int i = 0; i < 2; ++i) {
            callers.emplace_back([&] {
                while (!stop) {
                    const std::string one = use();
                    const std::lock_guard lock(mutex);
                    seen.insert(one);
                }
            });
        }
        faults_.set("C_DecryptInit nth=1 code=CKR_DEVICE_REMOVED\n" + function + " nth=1 hang");
        EXPECT_TRUE(comes_true([&] { return faults_.struck(std::size_t{1}) == 1; })) << function;
        // What hangs is let go by nothing but the worker's end.
        EXPECT_TRUE(comes_true([&] { return !is_running(both.front()); })) << function;
        EXPECT_TRUE(comes_true([&] { return use().empty(); })) << function;
        stop = true;
        for (auto& caller : callers) caller.join();
        seen.erase("");
        seen.erase("unavailable");
        EXPECT_EQ(seen, std::set<std::string>()) << function;
        EXPECT_EQ(use(), "") << function;
        faults_.clear();
        EXPECT_EQ(workers().front(), both.back()) << function;
    }
}

}  // namespace
}  // namespace tests
