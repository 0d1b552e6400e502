// The stack, where libraries keep what passes through them in buffers of their own. No secrets of
// ours belong there: see secret_bytes.h.
#pragma once

#include <cstddef>

namespace base {

inline constexpr std::size_t wiped_stack_bytes = 64UL * 1024;

// Overwrites that much of the calling thread's stack below its caller's frame: what the calls left
// behind that the caller made. Takes a microsecond or two.
void wipe_stack_below() noexcept;

// The same when it goes, however the calls end.
class StackWiped {
public:
    StackWiped() = default;
    ~StackWiped() { wipe_stack_below(); }
    StackWiped(const StackWiped&) = delete;
    StackWiped& operator=(const StackWiped&) = delete;
};

}  // namespace base
