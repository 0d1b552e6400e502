// Counts the encryptions of each key version, so that none makes more than is safe with random IVs
// (NIST SP 800-38D 8.3). Numbers are reserved in the store in blocks before they are used: a crash
// loses what is left of a block and never counts too few.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

#include "kms/store.h"

namespace kms {

inline constexpr std::uint64_t wrap_block = 65'536;

// Thread-safe. `store` must outlive it.
class UsageCounter {
public:
    explicit UsageCounter(Store& store) : store_(store) {}

    // Counts `count` encryptions (at most wrap_block) that are about to happen. Throws
    // failed_precondition when the version has no more, and what Store::reserve_wraps throws.
    void take(const base::Uuid& key_id, std::uint32_t version, std::uint64_t count);

    // wraps_reserved of `version` as it is now, newer than what was loaded at start.
    std::uint64_t reserved(const base::Uuid& key_id, const KeyVersion& version) const;

private:
    struct Block {
        std::uint64_t left = 0;
        std::uint64_t total = 0;  // wraps_reserved
    };

    Store& store_;
    mutable std::mutex mutex_;
    std::map<std::pair<base::Uuid, std::uint32_t>, Block> blocks_;
};

}  // namespace kms
