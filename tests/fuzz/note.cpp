// Signed notes and checkpoints, as a stranger could hand them to the verifier.
#include "server/checkpoint.h"
#include "tests/fuzz/only.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text = fuzz::text_of(data, size);
    const auto check_text = [](std::string_view body) {
        fuzz::allow(base::ErrorCode::invalid_argument, [&] {
            const server::Checkpoint checkpoint = server::parse_checkpoint_text(body);
            const std::string written = server::checkpoint_text(checkpoint);
            fuzz::require(body.starts_with(written));  // extension lines may follow
            fuzz::require(server::parse_checkpoint_text(written) == checkpoint);
        });
    };
    check_text(text);
    fuzz::allow(base::ErrorCode::invalid_argument, [&] {
        const server::Note note = server::parse_note(text);
        fuzz::require(text.starts_with(note.text) && note.signatures.size() <= 16);
        check_text(note.text);
    });
    return 0;
}
