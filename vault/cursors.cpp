#include "vault/cursors.h"

#include <charconv>
#include <string_view>

#include "vault/credential_answers.h"

namespace vault {
namespace {

template <typename Number>
Number parse_decimal(std::string_view text) {
    Number number = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc() || stop != end) refuse_cursor();
    return number;
}

}  // namespace

std::string to_cursor(const ExpiryPlace& last) {
    return std::to_string(base::to_milliseconds(last.expires_at)) + "/" + last.id.owner + "/" +
           last.id.name;
}

ExpiryPlace parse_expiry_cursor(const std::string& text, const std::string& owner) {
    const auto first = text.find('/');
    const auto second = text.find('/', first + 1);
    if (first == std::string::npos || second == std::string::npos) refuse_cursor();
    const auto milliseconds = parse_decimal<std::int64_t>(std::string_view(text).substr(0, first));
    ExpiryPlace place{.expires_at = base::from_milliseconds(milliseconds),
                      .id = {text.substr(first + 1, second - first - 1), text.substr(second + 1)}};
    if (to_cursor(place) != text) refuse_cursor();
    if (row_of_place(place.id)) return place;
    if (!is_safe_name(place.id.owner) || !is_safe_name(place.id.name) ||
        (!owner.empty() && owner != place.id.owner)) {
        refuse_cursor();
    }
    return place;
}

std::uint64_t parse_number_cursor(const std::string& text, std::uint64_t most) {
    if (text.empty()) return 0;
    const auto number = parse_decimal<std::uint64_t>(text);
    if (number < 1 || number > most || std::to_string(number) != text) refuse_cursor();
    return number;
}

std::string to_cursor(const RewrapPlace& next) {
    return std::to_string(next.credential) + "-" + std::to_string(next.version);
}

RewrapPlace parse_rewrap_cursor(const std::string& text) {
    RewrapPlace place;
    if (text.empty()) return place;
    const auto dash = text.find('-');
    if (dash == std::string::npos) refuse_cursor();
    place.credential = parse_decimal<long long>(std::string_view(text).substr(0, dash));
    place.version = parse_decimal<std::uint64_t>(std::string_view(text).substr(dash + 1));
    if (place.version > max_version || to_cursor(place) != text) refuse_cursor();
    return place;
}

}  // namespace vault
