// Percent-decoding and queries: what comes out is clean text, and what a query says is said once.
#include <algorithm>

#include "base/encoding.h"
#include "server/percent.h"
#include "server/request.h"
#include "tests/fuzz/only.h"

namespace {

bool is_clean(const std::string& text) {
    return base::is_utf8(text) && std::none_of(text.begin(), text.end(), [](char c) {
               return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
           });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text = fuzz::text_of(data, size);
    if (const auto decoded = server::percent_decode(text)) {
        fuzz::require(is_clean(*decoded) && decoded->size() <= text.size());
    }
    server::Request request;
    request.query = text;
    fuzz::allow(base::ErrorCode::invalid_argument, [&] {
        for (const auto& [name, value] : request.query_parameters()) {
            fuzz::require(is_clean(name) && is_clean(value) && !name.empty());
        }
    });
    return 0;
}
