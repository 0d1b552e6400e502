// The names by which the sanitizers ask for their options and suppressions.
#pragma once

extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier): theirs
const char* __asan_default_options();
const char* __tsan_default_options();
const char* __tsan_default_suppressions();
// NOLINTEND(bugprone-reserved-identifier)
}
