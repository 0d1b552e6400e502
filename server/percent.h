// Percent-decoding (RFC 3986 2.1) of paths and queries, strict.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace server {

// `text` with its %XX escapes decoded; '+' stays '+'. Empty when an escape is malformed, when the
// result is no UTF-8, or when it holds a control character (%00 among them).
std::optional<std::string> percent_decode(std::string_view text);

}  // namespace server
