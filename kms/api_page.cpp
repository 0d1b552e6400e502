#include "kms/api_page.h"

#include <charconv>

#include "base/encoding.h"
#include "base/error.h"

namespace kms {
namespace {

[[noreturn]] void refuse_parameter(std::string_view name, std::string_view complaint) {
    throw base::Error(base::ErrorCode::invalid_argument,
                      "\"" + std::string(name) + "\" in the query " + std::string(complaint));
}

std::size_t parse_limit(const std::string& text) {
    std::size_t limit = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, limit);
    if (error != std::errc() || stop != end || limit < 1 || limit > max_page) {
        refuse_parameter("limit", "must be an integer from 1 to " + std::to_string(max_page));
    }
    return limit;
}

}  // namespace

void refuse_cursor() { refuse_parameter("cursor", "is not one that this service gave"); }

PageRequest read_page(const server::Request& request) {
    PageRequest page;
    for (const auto& [name, value] : request.query_parameters()) {
        if (name == "limit") {
            page.limit = parse_limit(value);
        } else if (name == "cursor") {
            const auto bytes = base::parse_hex(value);
            if (!bytes || bytes->empty()) refuse_cursor();
            page.cursor.assign(bytes->begin(), bytes->end());
        } else {
            refuse_parameter(name, "is not a known parameter");
        }
    }
    return page;
}

std::string to_cursor(std::string_view place) { return base::to_hex(base::as_bytes(place)); }

}  // namespace kms
