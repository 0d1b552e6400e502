#include "server/gate_trace.h"

#include <algorithm>
#include <array>

#include "base/encoding.h"

namespace server {

namespace {

bool is_hex(std::string_view text) {
    return std::all_of(text.begin(), text.end(),
                       [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_zero(std::string_view text) {
    return text.find_first_not_of('0') == std::string_view::npos;
}

}  // namespace

bool is_traceparent(std::string_view text) {
    if (text.size() != 55 || text.substr(0, 3) != "00-" || text[35] != '-' || text[52] != '-') {
        return false;
    }
    const std::string_view trace = text.substr(3, 32);
    const std::string_view parent = text.substr(36, 16);
    return is_hex(trace) && !is_zero(trace) && is_hex(parent) && !is_zero(parent) &&
           is_hex(text.substr(53, 2));
}

std::string traceparent_for(std::string_view header,
                            std::span<const std::uint8_t, trace_random_bytes> drawn) {
    if (is_traceparent(header)) return std::string(header);
    std::array<std::uint8_t, trace_random_bytes> ids{};
    std::copy(drawn.begin(), drawn.end(), ids.begin());
    ids[0] |= 1;  // neither id may be zero
    ids[16] |= 1;
    std::string text = base::to_hex(ids);
    text.reserve(55);
    text.insert(32, 1, '-');
    text.insert(0, "00-");
    text += "-00";
    return text;
}

}  // namespace server
