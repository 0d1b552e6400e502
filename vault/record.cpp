#include "vault/record.h"

#include <algorithm>
#include <charconv>

namespace vault {
namespace {

bool is_safe(char c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool digit = c >= '0' && c <= '9';
    return letter || digit || std::string_view("._-:@+=,~").find(c) != std::string_view::npos;
}

}  // namespace

bool is_expired(const VersionInfo& version, base::Time now) {
    return version.expires_at && *version.expires_at <= now;
}

bool are_tags(const Tags& tags) noexcept {
    return tags.size() <= max_tags && std::all_of(tags.begin(), tags.end(), [](const auto& tag) {
               return is_safe_name(tag.first) && tag.first.size() <= max_tag_name_bytes &&
                      is_safe_name(tag.second) && tag.second.size() <= max_tag_value_bytes;
           });
}

CredentialId place_of_row(std::uint64_t row) { return {"", row_mark + std::to_string(row)}; }

std::optional<std::uint64_t> row_of_place(const CredentialId& place) {
    std::int64_t row = 0;
    if (!place.owner.empty() || !place.name.starts_with(row_mark)) return std::nullopt;
    const char* end = place.name.data() + place.name.size();
    const auto [stop, error] = std::from_chars(place.name.data() + 1, end, row);
    if (error != std::errc() || stop != end || row < 1) return std::nullopt;
    if (place != place_of_row(static_cast<std::uint64_t>(row))) return std::nullopt;
    return static_cast<std::uint64_t>(row);
}

bool is_safe_name(std::string_view text) noexcept {
    return !text.empty() && text.size() <= max_name_bytes &&
           std::all_of(text.begin(), text.end(), is_safe) &&
           text.find_first_not_of('.') != std::string_view::npos;
}

}  // namespace vault
