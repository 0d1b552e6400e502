// How much of what a caller may attach to a key: the same where it is made and where it is changed.
#pragma once

#include <cstddef>

namespace kms {

inline constexpr std::size_t max_key_body_bytes = 32UL * 1024;  // a whole context rule fits
inline constexpr std::size_t max_description_bytes = 256;
inline constexpr std::size_t max_tags = 50;
inline constexpr std::size_t max_tags_bytes = 4096;

}  // namespace kms
