#include "hsm/softhsm_object_file.h"

#include <cstdint>
#include <map>

namespace hsm {
namespace {

constexpr std::uint64_t token_label = 0x80005349;
constexpr std::uint64_t token_serial = 0x8000534a;
constexpr std::uint64_t token_flags = 0x8000534b;
constexpr std::uint64_t so_pin = 0x8000534c;
constexpr std::uint64_t user_pin = 0x8000534d;
constexpr std::uint64_t kind_boolean = 1;
constexpr std::uint64_t kind_number = 2;
constexpr std::uint64_t kind_bytes = 3;

class Cursor {
public:
    explicit Cursor(base::ByteView rest) : rest_(rest) {}
    bool at_end() const { return rest_.empty(); }

    std::optional<base::ByteView> bytes(std::uint64_t size) {
        if (size > rest_.size()) return std::nullopt;
        const auto taken = rest_.first(static_cast<std::size_t>(size));
        rest_ = rest_.subspan(static_cast<std::size_t>(size));
        return taken;
    }
    std::optional<std::uint64_t> number() {
        const auto taken = bytes(8);
        if (!taken) return std::nullopt;
        std::uint64_t value = 0;
        for (const std::uint8_t byte : *taken) value = value << 8U | byte;
        return value;
    }
    // The bytes of a value of that kind.
    std::optional<base::ByteView> value(std::uint64_t kind) {
        switch (kind) {
            case kind_boolean:
                return bytes(1);
            case kind_number:
                return bytes(8);
            case kind_bytes: {
                const auto size = number();
                return size ? bytes(*size) : std::nullopt;
            }
            default:
                return std::nullopt;
        }
    }

private:
    base::ByteView rest_;
};

std::string unpadded(base::ByteView field) {
    std::string text(base::as_text(field));
    text.erase(text.find_last_not_of(' ') + 1);
    return text;
}

}  // namespace

std::optional<SoftHsmTokenObject> parse_softhsm_token_object(base::ByteView file) {
    Cursor cursor(file);
    if (!cursor.number()) return std::nullopt;
    std::map<std::uint64_t, base::ByteView> attributes;
    while (!cursor.at_end()) {
        const auto type = cursor.number();
        const auto kind = cursor.number();
        if (!type || !kind) return std::nullopt;
        const auto value = cursor.value(*kind);
        if (!value) return std::nullopt;
        attributes[*type] = *value;
    }
    for (const auto needed : {token_label, token_serial, token_flags, so_pin, user_pin}) {
        const auto attribute = attributes.find(needed);
        if (attribute == attributes.end() || attribute->second.empty()) return std::nullopt;
    }
    return SoftHsmTokenObject{unpadded(attributes[token_label]),
                              unpadded(attributes[token_serial])};
}

}  // namespace hsm
