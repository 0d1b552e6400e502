// Whether the test was built with a sanitizer, for what its memory makes impossible.
#pragma once

// clang names its sanitizers by features, gcc by macros. Freed memory is kept, and shadow memory of
// terabytes is mapped.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool keeps_freed_memory = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr bool keeps_freed_memory = true;
#else
inline constexpr bool keeps_freed_memory = false;
#endif
#else
inline constexpr bool keeps_freed_memory = false;
#endif
