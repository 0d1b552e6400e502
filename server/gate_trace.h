// W3C Trace Context, version 00: the one header that ties a request to its caller's trace.
#pragma once

#include <string>
#include <string_view>

namespace server {

// `header` when it is well formed ("00-<32 hex>-<16 hex>-<2 hex>", lower case, ids not zero), else
// a fresh one: a malformed trace is no reason to refuse (Trace Context 3.2.2.2). Throws
// unavailable.
std::string traceparent_for(std::string_view header);

}  // namespace server
