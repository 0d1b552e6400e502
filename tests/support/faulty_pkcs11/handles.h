// Object handles as the caller sees them, which may lie. A handle of the wrapped module carries, in
// its upper half, how often handles were made invalid before it was given out.
#pragma once

#include <p11-kit/pkcs11.h>

#include <cstdint>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

namespace tests {

// Safe to share between threads.
class ObjectHandles {
public:
    // From the wrapped module to the caller. `found`: by a search.
    CK_OBJECT_HANDLE give(CK_OBJECT_HANDLE real, bool found = false) const;
    // From the caller to the wrapped module; empty when it is not valid any more.
    std::optional<CK_OBJECT_HANDLE> take(CK_OBJECT_HANDLE visible) const;

    void invalidate();
    // Within each group every handle comes to denote the next object. With `finds_only` a handle
    // denotes what it did, but a search for an object gives the next one's.
    void permute(const std::vector<std::vector<CK_OBJECT_HANDLE>>& groups, bool finds_only);
    // The wrapped module was finalised: it numbers its objects anew.
    void forget();

private:
    mutable std::mutex mutex_;
    CK_OBJECT_HANDLE generation_ = 0;
    std::unordered_map<CK_OBJECT_HANDLE, CK_OBJECT_HANDLE> inwards_, outwards_, of_finds_;
};

}  // namespace tests
