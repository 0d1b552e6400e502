#include "server/gate_trace.h"

#include <algorithm>
#include <array>

#include "base/encoding.h"
#include "base/random.h"

namespace server {

namespace {

bool is_hex(std::string_view text) {
    return std::all_of(text.begin(), text.end(),
                       [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_zero(std::string_view text) {
    return text.find_first_not_of('0') == std::string_view::npos;
}

bool is_well_formed(std::string_view text) {
    if (text.size() != 55 || text.substr(0, 3) != "00-" || text[35] != '-' || text[52] != '-') {
        return false;
    }
    const std::string_view trace = text.substr(3, 32);
    const std::string_view parent = text.substr(36, 16);
    return is_hex(trace) && !is_zero(trace) && is_hex(parent) && !is_zero(parent) &&
           is_hex(text.substr(53, 2));
}

}  // namespace

std::string traceparent_for(std::string_view header) {
    if (is_well_formed(header)) return std::string(header);
    std::array<std::uint8_t, 24> ids{};
    base::random_bytes(ids);
    ids[0] |= 1;  // neither id may be zero
    ids[16] |= 1;
    const std::string hex = base::to_hex(ids);
    return "00-" + hex.substr(0, 32) + "-" + hex.substr(32) + "-00";
}

}  // namespace server
