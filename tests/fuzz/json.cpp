// Strict JSON: what is accepted comes back the same when it is written and read again.
#include "base/json.h"
#include "tests/fuzz/only.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text = fuzz::text_of(data, size);
    base::JsonLimits with_comments;
    with_comments.comments = true;
    fuzz::allow(base::ErrorCode::invalid_argument,
                [&] { static_cast<void>(base::parse_json(text, with_comments)); });
    fuzz::allow(base::ErrorCode::invalid_argument, [&] {
        const base::JsonValue value = base::parse_json(text);
        base::JsonLimits roomy;
        roomy.bytes = 8 * text.size() + 64;  // escapes may be longer than what they stand for
        const base::WipedString written = base::to_json(value);
        fuzz::require(base::to_json(base::parse_json(written, roomy)) == written);
    });
    return 0;
}
