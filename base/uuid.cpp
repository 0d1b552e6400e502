#include "base/uuid.h"

#include <algorithm>
#include <cstring>

#include "base/encoding.h"
#include "base/random.h"

namespace base {
namespace {

constexpr std::size_t text_length = 36;

bool is_dash_position(std::size_t index) {
    return index == 8 || index == 13 || index == 18 || index == 23;
}

}  // namespace

Uuid Uuid::from_bytes(ByteView bytes) {
    Uuid id;
    std::copy_n(bytes.first(size).begin(), size, id.bytes_.begin());
    return id;
}

Uuid Uuid::random() {
    std::array<std::uint8_t, size> drawn{};
    random_bytes(drawn);
    return random(drawn);
}

Uuid Uuid::random(std::span<const std::uint8_t, size> drawn) {
    Uuid id = from_bytes(drawn);
    id.bytes_[6] = static_cast<std::uint8_t>((id.bytes_[6] & 0x0FU) | 0x40U);
    id.bytes_[8] = static_cast<std::uint8_t>((id.bytes_[8] & 0x3FU) | 0x80U);
    return id;
}

std::optional<Uuid> Uuid::parse(std::string_view text) {
    if (text.size() != text_length) return std::nullopt;
    std::string digits;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (is_dash_position(i)) {
            if (text[i] != '-') return std::nullopt;
        } else {
            digits += text[i];
        }
    }
    const auto bytes = parse_hex(digits);
    if (!bytes || bytes->size() != size) return std::nullopt;
    return from_bytes(*bytes);
}

std::string Uuid::to_string() const {
    // Each request writes several: by hand, since the library's encoder takes as long as all the
    // rest of it.
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text(text_length, '-');
    std::size_t at = 0;
    for (const std::uint8_t byte : bytes_) {
        if (is_dash_position(at)) ++at;
        text[at++] = digits[byte >> 4U];
        text[at++] = digits[byte & 0x0FU];
    }
    return text;
}

}  // namespace base

std::size_t std::hash<base::Uuid>::operator()(const base::Uuid& id) const noexcept {
    std::size_t value = 0;
    std::memcpy(&value, id.bytes().data(), sizeof value);
    return value;
}
