// 16-byte identifiers: key ids, record ids, request ids, CKA_ID values.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace base {

// A UUID (RFC 9562). Compares bytewise; hashable. A value type, safe to share between threads.
class Uuid {
public:
    static constexpr std::size_t size = 16;

    constexpr Uuid() = default;
    explicit constexpr Uuid(const std::array<std::uint8_t, size>& bytes) : bytes_(bytes) {}
    // The first 16 bytes of `bytes`, which must have as many.
    static Uuid from_bytes(ByteView bytes);

    // A fresh random UUID, version 4. Throws unavailable when the system has no randomness.
    static Uuid random();
    // The same of random bytes that were drawn already.
    static Uuid random(std::span<const std::uint8_t, size> drawn);
    // Reads the canonical form only: 36 characters, lower case. Empty otherwise.
    static std::optional<Uuid> parse(std::string_view text);

    std::string to_string() const;
    ByteView bytes() const noexcept { return bytes_; }
    bool is_nil() const noexcept { return *this == Uuid(); }

    auto operator<=>(const Uuid&) const =
        default;  // NOLINT(modernize-use-nullptr): a false alarm of clang-tidy 14

private:
    std::array<std::uint8_t, size> bytes_{};
};

}  // namespace base

template <>
struct std::hash<base::Uuid> {
    std::size_t operator()(const base::Uuid& id) const noexcept;
};
