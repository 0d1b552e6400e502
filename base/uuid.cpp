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
    Uuid id;
    random_bytes(id.bytes_);
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
    const std::string digits = to_hex(bytes_);
    std::string text;
    text.reserve(text_length);
    for (const char digit : digits) {
        if (is_dash_position(text.size())) text += '-';
        text += digit;
    }
    return text;
}

}  // namespace base

std::size_t std::hash<base::Uuid>::operator()(const base::Uuid& id) const noexcept {
    std::size_t value = 0;
    std::memcpy(&value, id.bytes().data(), sizeof value);
    return value;
}
