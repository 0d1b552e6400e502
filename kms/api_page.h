// The query of a list: how many, and from where on.
#pragma once

#include <cstddef>
#include <string>

#include "server/request.h"

namespace kms {

inline constexpr std::size_t max_page = 100;
inline constexpr std::size_t default_page = 50;

struct PageRequest {
    std::size_t limit = default_page;
    std::string cursor;  // what to_cursor() was given; empty: from the start
};

// Throws invalid_argument naming the parameter: unknown, a limit that is not 1 to max_page, a
// cursor that can't be one of ours.
PageRequest read_page(const server::Request& request);

// Opaque for callers: they get it and give it back.
std::string to_cursor(std::string_view place);

[[noreturn]] void refuse_cursor();

}  // namespace kms
