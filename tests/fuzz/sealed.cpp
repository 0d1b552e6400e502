// A stored credential: refused as damaged, or it is written back as it stood in all that counts;
// with a wrong key it never opens.
#include "vault/sealed.h"
#include "tests/fuzz/only.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text = fuzz::text_of(data, size);
    fuzz::allow(base::ErrorCode::integrity_failure, [&] {
        const vault::SealedCredential sealed = vault::parse_stored(text);
        const std::string written = vault::to_text(sealed);
        fuzz::require(vault::to_text(vault::parse_stored(written)) == written);
        const bool opened = fuzz::allow(base::ErrorCode::integrity_failure, [&] {
            static_cast<void>(vault::open(sealed, {"owner", "name", 1},
                                          base::SecretBytes(vault::data_key_bytes)));
        });
        fuzz::require(!opened);
    });
    fuzz::allow(base::ErrorCode::invalid_argument, [&] {
        const base::JsonValue value = base::parse_json(text);
        static_cast<void>(vault::is_sealed(value));
        static_cast<void>(vault::parse_sealed(value));
    });
    return 0;
}
