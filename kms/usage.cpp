#include "kms/usage.h"

#include "base/error.h"

namespace kms {

void UsageCounter::take(const base::Uuid& key_id, std::uint32_t version, std::uint64_t count) {
    const std::lock_guard lock(mutex_);
    Block& block = blocks_[{key_id, version}];
    if (block.left < count) {
        const Reservation more = store_.reserve_wraps(key_id, version, wrap_block);
        block.left += more.granted;
        block.total = more.total;
    }
    if (block.left < count) {
        throw base::Error(base::ErrorCode::failed_precondition,
                          "the key version has made as many encryptions as are safe; "
                          "new data keys need a new version",
                          "key " + key_id.to_string() + "/" + std::to_string(version));
    }
    block.left -= count;
}

std::uint64_t UsageCounter::reserved(const base::Uuid& key_id, const KeyVersion& version) const {
    const std::lock_guard lock(mutex_);
    const auto found = blocks_.find({key_id, version.version});
    return found == blocks_.end() ? version.wraps_reserved : found->second.total;
}

}  // namespace kms
