#include "tests/support/faulty_pkcs11/handles.h"

namespace tests {
namespace {

constexpr unsigned generation_shift = 32;
constexpr CK_OBJECT_HANDLE real_part = (CK_OBJECT_HANDLE{1} << generation_shift) - 1;

CK_OBJECT_HANDLE mapped(const std::unordered_map<CK_OBJECT_HANDLE, CK_OBJECT_HANDLE>& map,
                        CK_OBJECT_HANDLE handle) {
    const auto entry = map.find(handle);
    return entry == map.end() ? handle : entry->second;
}

}  // namespace

CK_OBJECT_HANDLE ObjectHandles::give(CK_OBJECT_HANDLE real, bool found) const {
    const std::lock_guard lock(mutex_);
    if (found) real = mapped(of_finds_, real);
    return mapped(outwards_, real) | (generation_ << generation_shift);
}

std::optional<CK_OBJECT_HANDLE> ObjectHandles::take(CK_OBJECT_HANDLE visible) const {
    const std::lock_guard lock(mutex_);
    if (visible == CK_INVALID_HANDLE) return visible;
    if ((visible >> generation_shift) != generation_) return std::nullopt;
    return mapped(inwards_, visible & real_part);
}

void ObjectHandles::invalidate() {
    const std::lock_guard lock(mutex_);
    ++generation_;
}

void ObjectHandles::permute(const std::vector<std::vector<CK_OBJECT_HANDLE>>& groups,
                            bool finds_only) {
    const std::lock_guard lock(mutex_);
    if (finds_only) {
        of_finds_.clear();
        for (const auto& group : groups) {
            for (std::size_t i = 0; i < group.size(); ++i)
                of_finds_[group[i]] = group[(i + 1) % group.size()];
        }
        return;
    }
    // On top of what was permuted before: what denoted group[i] comes to denote the next.
    std::unordered_map<CK_OBJECT_HANDLE, CK_OBJECT_HANDLE> in;
    std::unordered_map<CK_OBJECT_HANDLE, CK_OBJECT_HANDLE> out;
    for (const auto& group : groups) {
        for (std::size_t i = 0; i < group.size(); ++i) {
            const CK_OBJECT_HANDLE visible = mapped(outwards_, group[i]);
            const CK_OBJECT_HANDLE next = group[(i + 1) % group.size()];
            in[visible] = next;
            out[next] = visible;
        }
    }
    inwards_ = std::move(in);
    outwards_ = std::move(out);
}

void ObjectHandles::forget() {
    const std::lock_guard lock(mutex_);
    inwards_.clear();
    outwards_.clear();
    of_finds_.clear();
}

}  // namespace tests
