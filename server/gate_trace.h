// W3C Trace Context, version 00: what ties a request, or an item of one, to its caller's trace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace server {

inline constexpr std::size_t trace_random_bytes = 24;

// Whether it is well formed: "00-<32 hex>-<16 hex>-<2 hex>", lower case, ids not zero.
bool is_traceparent(std::string_view text);

// `header` when it is well formed, else a fresh one of the random bytes `drawn`: a malformed trace
// is no reason to refuse (Trace Context 3.2.2.2).
std::string traceparent_for(std::string_view header,
                            std::span<const std::uint8_t, trace_random_bytes> drawn);

}  // namespace server
