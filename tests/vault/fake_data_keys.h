// A key service in memory: DataKeys with state and with faults to switch on. It is held to the same
// contract as the real one (data_keys_contract.h).
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <vector>

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
        return std::move(create_many(context, 1, traceparent).front());
    }

    std::vector<vault::DataKey> create_many(const vault::KeyContext& context, std::size_t count,
                                            const std::string& traceparent) override {
        const std::lock_guard lock(mutex_);
        note(traceparent);
        std::vector<vault::DataKey> keys;
        for (std::size_t i = 0; i < count; ++i) {
            base::SecretBytes plaintext = base::random_secret(32);
            base::Bytes wrapped = wrap(plaintext, context);
            keys.push_back({std::move(plaintext), std::move(wrapped), key_id_, primary});
        }
        return keys;
    }

    base::SecretBytes unwrap(base::ByteView wrapped, const vault::KeyContext& context,
                             const std::string& traceparent) override {
        const std::lock_guard lock(mutex_);
        note(traceparent);
        return find({base::to_bytes(wrapped), context}).plaintext.clone();
    }

    std::vector<vault::UnwrapOutcome> unwrap_many(std::span<const vault::WrappedKey> items,
                                                  const std::string& traceparent) override {
        return each<vault::UnwrapOutcome>(
            items, traceparent, [&](const auto& item) { return find(item).plaintext.clone(); });
    }

    std::vector<vault::RewrapOutcome> rewrap_many(std::span<const vault::WrappedKey> items,
                                                  const std::string& traceparent) override {
        return each<vault::RewrapOutcome>(items, traceparent, [&](const auto& item) {
            const Made& known = find(item);
            const vault::MasterKeyVersion newest_key{key_id_, primary};
            const base::Bytes anew = item.wrapped.at(25) == primary
                                         ? item.wrapped
                                         : wrap(known.plaintext, known.context);
            return vault::Rewrapped{anew, newest_key,
                                    base::commitment_of(find({anew, item.context}).plaintext)};
        });
    }

    std::optional<vault::MasterKeyVersion> newest(const std::string& /*traceparent*/) override {
        if (unavailable) return std::nullopt;
        return vault::MasterKeyVersion{key_id_, primary};
    }

    vault::MasterKeyVersion newest_now(const std::string& traceparent) override {
        const std::lock_guard lock(mutex_);
        note(traceparent);
        return {key_id_, primary};
    }

    void check() override {
        require_available();
        if (not_ready) throw base::Error(base::ErrorCode::unavailable, "its token is away");
    }

    // Faults and what was seen.
    std::atomic<bool> unavailable = false;
    std::atomic<bool> refuses_items = false;  // each item of a call is unavailable
    std::atomic<int> refusals = 0;            // so many of the next items are refused
    std::atomic<int> unanswered = 0;          // so many of the next items get no answer
    std::atomic<int> refused_version = 0;     // what is wrapped by this one is refused
    std::atomic<bool> not_ready = false;      // what check() says
    std::atomic<bool> wraps_badly = false;    // what it wraps unwraps to another key
    std::atomic<int> calls = 0;
    std::string last_traceparent;

    static constexpr std::uint8_t key_version = 3;  // in the beginning
    std::atomic<std::uint8_t> primary = key_version;
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
        bytes.insert(bytes.end(), {0, 0, 0, primary});
        return bytes;
    }

    base::Bytes wrap(const base::SecretBytes& plaintext, const vault::KeyContext& context) {
        base::Bytes wrapped = head();
        const base::SecretBytes rest = base::random_secret(12 + 32 + 16);
        wrapped.insert(wrapped.end(), rest.expose().begin(), rest.expose().end());
        made_[wrapped] = {plaintext.clone(), context};
        if (wraps_badly) made_[wrapped].plaintext.expose_mutable()[0] ^= 1;
        return wrapped;
    }

    const Made& find(const vault::WrappedKey& item) const {
        if (item.wrapped.size() > 25 && item.wrapped[25] == refused_version)
            throw vault::refused_by_key_service("its master key is destroyed");
        const auto found = made_.find(item.wrapped);
        if (found == made_.end() || found->second.context != item.context) {
            throw base::decryption_failed("fake");
        }
        return found->second;
    }

    template <typename Outcome, typename Work>
    std::vector<Outcome> each(std::span<const vault::WrappedKey> items,
                              const std::string& traceparent, Work work) {
        if (items.empty()) return {};
        const std::lock_guard lock(mutex_);
        note(traceparent);
        std::vector<Outcome> outcomes;
        for (const auto& item : items) {
            try {
                if (refusals > 0) {
                    --refusals;
                    throw vault::refused_by_key_service("not now");
                }
                if (unanswered > 0) {
                    --unanswered;
                    throw base::Error(base::ErrorCode::unavailable, "no answer");
                }
                if (refuses_items) throw base::Error(base::ErrorCode::unavailable, "no answer");
                outcomes.emplace_back(work(item));
            } catch (const base::Error& error) {
                outcomes.emplace_back(error);
            }
        }
        return outcomes;
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
