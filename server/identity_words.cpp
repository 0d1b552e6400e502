#include "server/identity_words.h"

#include <algorithm>
#include <array>

#include "base/encoding.h"
#include "base/error.h"

namespace server {
namespace {

constexpr std::size_t max_sound_bytes = 2048;
constexpr std::size_t max_prefix_bytes = 64;

}  // namespace

void refuse_credential(std::string_view reason) {
    throw base::Error(base::ErrorCode::unauthenticated, "the credential is not accepted",
                      std::string(reason));
}

bool is_sound_name(std::string_view name) {
    const auto is_control = [](char c) {
        return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
    };
    return !name.empty() && name.size() <= max_sound_bytes && base::is_utf8(name) &&
           std::none_of(name.begin(), name.end(), is_control);
}

bool is_reserved_claim(std::string_view name) {
    constexpr std::array<std::string_view, 5> reserved = {"certificate_sha256", "connection",
                                                          "issuer", "subject", "token_id"};
    return std::find(reserved.begin(), reserved.end(), name) != reserved.end();
}

bool is_caller_prefix(std::string_view prefix) {
    const auto is_fine = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
               c == '_' || c == ':';
    };
    return prefix.size() > 1 && prefix.size() <= max_prefix_bytes && prefix.back() == ':' &&
           std::all_of(prefix.begin(), prefix.end(), is_fine);
}

}  // namespace server
