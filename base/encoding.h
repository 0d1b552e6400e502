// Base64 and hexadecimal, strict: one text for one value, anything else is refused.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/secret_bytes.h"

namespace base {

// RFC 4648 section 4, with padding.
std::string to_base64(ByteView bytes);
// Appends the base64 of secret bytes to a body on its way out, without an intermediate copy.
void append_base64(WipedString& out, ByteView bytes);

// Empty unless `text` is the canonical encoding: standard alphabet, full padding, unused bits zero,
// no white space (RFC 4648 section 3.5).
std::optional<Bytes> parse_base64(std::string_view text);
std::optional<SecretBytes> parse_base64_secret(std::string_view text);

// RFC 4648 section 5 without padding, as JOSE has it (RFC 7515 section 2).
std::string to_base64url(ByteView bytes);
// Empty unless `text` is the canonical encoding: URL-safe alphabet, no padding, unused bits zero.
std::optional<Bytes> parse_base64url(std::string_view text);

// Lower case.
std::string to_hex(ByteView bytes);
// Lower case only, even length; empty otherwise.
std::optional<Bytes> parse_hex(std::string_view text);

// True when `text` is well-formed UTF-8 (RFC 3629).
bool is_utf8(std::string_view text) noexcept;

}  // namespace base
