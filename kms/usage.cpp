#include "kms/usage.h"

#include "base/error.h"

namespace kms {

void UsageCounter::take(const base::Uuid& key_id, std::uint32_t version, std::uint64_t count) {
    const std::lock_guard lock(mutex_);
    std::uint64_t& left = left_[{key_id, version}];
    if (left < count) left += store_.reserve_wraps(key_id, version, wrap_block);
    if (left < count) {
        throw base::Error(base::ErrorCode::failed_precondition,
                          "the key version has made as many encryptions as are safe; "
                          "new data keys need a new version",
                          "key " + key_id.to_string() + "/" + std::to_string(version));
    }
    left -= count;
}

}  // namespace kms
