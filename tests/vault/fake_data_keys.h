// A key service in memory: DataKeys with state and with faults to switch on. It is held to the same
// contract as the real one (data_keys_contract.h).
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <string>

#include "base/error.h"
#include "base/random.h"
#include "vault/data_keys.h"

namespace tests {

// Thread-safe.
class FakeDataKeys final : public vault::DataKeys {
public:
    FakeDataKeys() : key_id_(base::Uuid::random()) {}

    vault::DataKey create(const vault::KeyContext& context,
                          const std::string& traceparent) override {
        const std::lock_guard lock(mutex_);
        note(traceparent);
        vault::DataKey key{base::random_secret(32), head(), key_id_, key_version};
        const base::SecretBytes rest = base::random_secret(12 + 32 + 16);
        key.wrapped.insert(key.wrapped.end(), rest.expose().begin(), rest.expose().end());
        made_[key.wrapped] = {key.plaintext.clone(), context};
        if (wraps_badly) made_[key.wrapped].plaintext.expose_mutable()[0] ^= 1;
        return key;
    }

    base::SecretBytes unwrap(base::ByteView wrapped, const vault::KeyContext& context,
                             const std::string& traceparent) override {
        const std::lock_guard lock(mutex_);
        note(traceparent);
        const auto found = made_.find(base::to_bytes(wrapped));
        if (found == made_.end() || found->second.context != context) {
            throw base::decryption_failed("fake");
        }
        return found->second.plaintext.clone();
    }

    void check() override { require_available(); }

    // Faults and what was seen.
    std::atomic<bool> unavailable = false;
    std::atomic<bool> wraps_badly = false;  // what it wraps unwraps to another key
    std::atomic<int> calls = 0;
    std::string last_traceparent;

    static constexpr std::uint8_t key_version = 3;
    const base::Uuid& key_id() const { return key_id_; }

private:
    struct Made {
        base::SecretBytes plaintext;
        vault::KeyContext context;
    };

    // The head of a wrapped data key, format version 1.
    base::Bytes head() const {
        base::Bytes bytes = {'S', 'R', 'd', 'k', 1, 1};
        bytes.insert(bytes.end(), key_id_.bytes().begin(), key_id_.bytes().end());
        bytes.insert(bytes.end(), {0, 0, 0, key_version});
        return bytes;
    }

    void require_available() const {
        if (unavailable) throw base::Error(base::ErrorCode::unavailable, "switched off");
    }

    void note(const std::string& traceparent) {
        ++calls;
        last_traceparent = traceparent;
        require_available();
    }

    std::mutex mutex_;
    base::Uuid key_id_;
    std::map<base::Bytes, Made> made_;
};

}  // namespace tests
