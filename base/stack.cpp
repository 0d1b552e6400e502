#include "base/stack.h"

#include <array>

#include "base/secret_bytes.h"

namespace base {

// A frame of its own, so that it lies where those of the earlier calls lay.
[[gnu::noinline]] void wipe_stack_below() noexcept {
    std::array<char, wiped_stack_bytes> below;  // not filled with anything first
    wipe(below.data(), below.size());
}

}  // namespace base
