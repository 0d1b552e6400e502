// What the fuzzers share. A parser may refuse with base::Error and do nothing else: any other
// exception, a failed require() and whatever the sanitizers see is a finding.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"

namespace fuzz {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
    return {reinterpret_cast<const char*>(data), size};
}

inline void require(bool holds) {
    if (!holds) std::abort();
}

// Runs `call`; true when it was not refused.
template <typename Call>
bool allow_errors(Call call) {
    try {
        call();
        return true;
    } catch (const base::Error&) {
        return false;
    }
}

// The same where only one refusal is allowed.
template <typename Call>
bool allow(base::ErrorCode code, Call call) {
    try {
        call();
        return true;
    } catch (const base::Error& error) {
        require(error.code() == code);
        return false;
    }
}

}  // namespace fuzz
