// Names that come from outside, in messages that go back there: only what looks like a name of ours
// is said, since who mixes up name and value sends a secret as a name.
#pragma once

#include <algorithm>
#include <string_view>

namespace base {

// Fewer characters than the shortest secret or token that we accept, and of letters, digits, '_',
// '-' and '.' only.
inline bool is_plain_name(std::string_view name) {
    constexpr std::size_t shortest_secret = 32;
    return name.size() < shortest_secret && std::all_of(name.begin(), name.end(), [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_' || c == '-' || c == '.';
           });
}

}  // namespace base
