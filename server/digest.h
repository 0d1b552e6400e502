// SHA-256 of public data: the audit chain and the policy's name. Nothing secret is hashed here.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>

namespace server {

// SHA-256 (FIPS 180-4), made once and used many times. Not thread-safe.
class Sha256 {
public:
    using Digest = std::array<std::uint8_t, 32>;

    // Throws internal when the library has no SHA-256.
    Sha256();
    ~Sha256();
    Sha256(const Sha256&) = delete;
    Sha256& operator=(const Sha256&) = delete;

    // Throws internal.
    Digest digest(std::string_view text);
    // Of the parts as one text, without joining them.
    Digest digest_parts(std::initializer_list<std::string_view> parts);
    // The digest in lower-case hex.
    std::string hex(std::string_view text);

private:
    struct Context;
    std::unique_ptr<Context> context_;
};

}  // namespace server
