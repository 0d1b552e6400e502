// A cache of unwrapped data keys in front of the key service, for reading only; there is none
// unless the configuration asks for one. What a caller may do is decided and recorded before
// anything is asked here, so a cache changes how often the key service is asked, not who is
// answered.
//
// A key is given out from the cache only while the key service has proven within the last second
// that the master key version which wraps it still opens: each unwrap that succeeds is that proof
// for all data keys under this version. So once a second a read goes through, and is the question
// and the answer at once; a master key that was disabled, destroyed or taken from the vault, or a
// key service that does not answer, ends reads within that second, and empties the cache.
//
// Keys are kept in SecretBytes, for one reader, wrapped form and context each, and wiped when they
// go: by age, number, uses or failure, or because what they open was destroyed here. No
// configuration, HTTP or JSON may appear here.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>

#include "vault/data_keys.h"

namespace vault {

struct KeyCacheLimits {
    std::chrono::seconds max_age{30};  // since the key service gave the key
    std::size_t max_entries = 1000;    // beyond it the one that was not used for longest goes
    std::uint64_t max_uses = 100;      // answers by one entry; the next asks the key service
};
// What a configuration may ask for at most.
inline constexpr KeyCacheLimits most_key_cache{std::chrono::seconds(300), 4096, 1'000'000};

// How long an unwrap proves that its master key version opens, from when it was asked for.
inline constexpr std::chrono::milliseconds key_cache_proof{1000};

// `keys` must outlive it. A thread of its own takes away what is too old.
class CachingDataKeys final : public DataKeys {
public:
    // Moved on by hand in tests; a step of the wall clock must not make old keys young.
    using Clock = std::function<std::chrono::steady_clock::time_point()>;

    CachingDataKeys(
        DataKeys& keys, KeyCacheLimits limits,
        Clock clock = [] { return std::chrono::steady_clock::now(); });
    ~CachingDataKeys() override;
    CachingDataKeys(const CachingDataKeys&) = delete;
    CachingDataKeys& operator=(const CachingDataKeys&) = delete;

    ReadKey unwrap_to_read(const WrappedKey& item, const std::string& reader,
                           const std::string& traceparent) override;
    std::vector<ReadOutcome> unwrap_many_to_read(std::span<const WrappedKey> items,
                                                 const std::string& reader,
                                                 const std::string& traceparent) override;

    // The key service's own.
    DataKey create(const KeyContext& context, const std::string& traceparent) override;
    base::SecretBytes unwrap(base::ByteView wrapped, const KeyContext& context,
                             const std::string& traceparent) override;
    std::vector<DataKey> create_many(const KeyContext& context, std::size_t count,
                                     const std::string& traceparent) override;
    std::vector<UnwrapOutcome> unwrap_many(std::span<const WrappedKey> items,
                                           const std::string& traceparent) override;
    std::vector<RewrapOutcome> rewrap_many(std::span<const WrappedKey> items,
                                           const std::string& traceparent) override;
    std::optional<MasterKeyVersion> newest(const std::string& traceparent) override;
    MasterKeyVersion newest_now(const std::string& traceparent) override;
    void forget(const KeyContext& parts) noexcept override;
    void check() override;

    // Wipes what is too old. The thread does so once a second.
    void sweep();
    // How many keys there are.
    std::size_t size() const;

private:
    using TimePoint = std::chrono::steady_clock::time_point;

    struct Entry {
        base::SecretBytes key;
        KeyContext context;
        MasterKeyVersion master_key;
        TimePoint until;
        std::uint64_t uses_left = 0;
        std::list<std::string>::iterator place;  // in by_use_
    };
    using Entries = std::unordered_map<std::string, Entry>;

    // A question to the key service that is under way.
    struct Asking {
        TimePoint begun;
        std::uint64_t losses = 0;
    };

    Asking begin() const;
    std::optional<base::SecretBytes> take(const std::string& name);
    void keep(const std::string& name, const WrappedKey& item, const base::SecretBytes& key,
              const Asking& asking);
    void note_failure(const WrappedKey& item, const base::Error& error);
    void note_outage();
    // With the mutex held.
    void erase(Entries::iterator entry);
    void erase_old(TimePoint now);
    void run();

    DataKeys& keys_;
    const KeyCacheLimits limits_;
    const Clock clock_;

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    Entries entries_;                // by a hash of reader, wrapped form and context
    std::list<std::string> by_use_;  // the latest last
    std::map<std::pair<std::string, std::uint32_t>, TimePoint> proofs_;  // by master key version
    std::uint64_t losses_ = 0;  // how often keys were taken away by a failure, or forgotten
    bool is_stopping_ = false;
    std::thread sweeper_;
};

}  // namespace vault
