// Large batches of several threads on SoftHSM: one at a time, but nobody stays behind one that
// hangs.
#include <gtest/gtest.h>

#include <barrier>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/hsm/fault_table.h"

namespace tests {
namespace {

using Faults = FaultTable;

// Sees every C_Decrypt, before SoftHSM does.
struct Watched {
    static inline std::mutex mutex;
    static inline std::condition_variable changed;
    static inline std::vector<std::thread::id> callers;
    static inline bool holds_first = false;  // the first call waits until this ends
    static inline std::size_t held = 0;

    static CK_RV decrypt(CK_SESSION_HANDLE session, CK_BYTE* in, CK_ULONG size, CK_BYTE* out,
                         CK_ULONG* room) {
        {
            std::unique_lock lock(mutex);
            callers.push_back(std::this_thread::get_id());
            if (holds_first && held == 0) {
                ++held;
                changed.notify_all();
                changed.wait(lock, [] { return !holds_first; });
            }
        }
        std::this_thread::yield();
        return Faults::real.C_Decrypt(session, in, size, out, room);
    }
};

class BatchTurns : public testing::Test {
protected:
    static constexpr std::size_t batch_items = 200;

    BatchTurns() {
        open_token(std::chrono::hours(1));
        key_ = hsm::KeyId::random();
        token_->generate_aes_key(key_, "", hsm::KeyProfile::sealed);
        sealed_ = token_->encrypt(key_, {}, base::as_bytes("secret"));
    }
    ~BatchTurns() override { Faults::reset(); }

    void open_token(std::chrono::milliseconds patience) {
        hsm::TokenConfig config = fixture_.config();
        config.turn_patience = patience;
        token_.reset();
        token_ = hsm::open_token(Faults::module(), config, fixture_.pin(), log_);
        Faults::table.C_Decrypt = Watched::decrypt;  // a fresh module has none of this
    }

    void open_batch() {
        const std::vector<hsm::DecryptItem> items(batch_items,
                                                  {key_, sealed_.iv, {}, sealed_.ciphertext});
        for (const auto& opened : token_->decrypt_many(items)) EXPECT_TRUE(opened.has_value());
    }

    // How often another thread went on than the one before.
    std::size_t changes_between_two_batches() {
        Watched::callers.clear();
        std::barrier start(2);
        const auto work = [&] {
            start.arrive_and_wait();
            open_batch();
        };
        std::thread other(work);
        work();
        other.join();
        std::size_t changes = 0;
        for (std::size_t i = 1; i < Watched::callers.size(); ++i) {
            if (Watched::callers[i] != Watched::callers[i - 1]) ++changes;
        }
        return changes;
    }

    base::Log log_{"hsm_tests", base::LogLevel::error};
    SoftHsmToken fixture_;
    std::unique_ptr<hsm::Token> token_;
    hsm::KeyId key_;
    hsm::Encrypted sealed_;
};

TEST_F(BatchTurns, OneLargeBatchComesAfterTheOther) {
    EXPECT_EQ(changes_between_two_batches(), 1U);
}

TEST_F(BatchTurns, NobodyStaysBehindABatchThatHangs) {
    open_token(std::chrono::milliseconds(1));
    Watched::held = 0;
    Watched::holds_first = true;
    std::thread hanging([this] { open_batch(); });
    {
        std::unique_lock lock(Watched::mutex);
        Watched::changed.wait(lock, [] { return Watched::held == 1; });
    }
    open_batch();
    {
        const std::lock_guard lock(Watched::mutex);
        Watched::holds_first = false;
    }
    Watched::changed.notify_all();
    hanging.join();
}

}  // namespace
}  // namespace tests
