// What kmsd and its token worker say to each other, read on both sides: a frame that is not refused
// is written again with the same bytes. The first byte says which.
#include <algorithm>

#include "hsm/worker_fields.h"
#include "tests/fuzz/only.h"

namespace {

using base::ErrorCode;

void require_same(const hsm::WireBytes& frame, base::ByteView body) {
    fuzz::require(std::ranges::equal(base::ByteView(frame).subspan(hsm::frame_length_bytes), body));
}

void check_request(base::ByteView body) {
    fuzz::allow(ErrorCode::internal, [&] {
        const auto read = hsm::read_request(body);
        hsm::WireBytes again;
        hsm::write_request(again, read.number, read.request);
        require_same(again, body);
    });
}

void check_opening(base::ByteView body) {
    fuzz::allow_errors([&] {
        std::uint32_t number = 0;
        const auto read = hsm::read_opening(body, number);
        hsm::WireBytes again;
        hsm::write_opening(again, number, read);
        require_same(again, body);
    });
}

template <typename Answer>
void check_answer(base::ByteView body) {
    fuzz::allow(ErrorCode::internal, [&] {
        hsm::WireReader reader(body);
        const hsm::AnswerHead head = hsm::read_head(reader);
        hsm::WireBytes again;
        if (head.error) {
            const base::Error error = hsm::read_refusal(reader, *head.error);
            fuzz::require(error.code() == *head.error);
            hsm::write_refusal(again, head, error);
        } else {
            hsm::write_answer(again, head, hsm::read_answer<Answer>(reader));
        }
        require_same(again, body);
    });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const base::ByteView body(data + 1, size - 1);
    switch (data[0] % 12) {
        case 0:
            check_request(body);
            break;
        case 1:
            check_opening(body);
            break;
        case 2:
            check_answer<hsm::TokenInfo>(body);
            break;
        case 3:
            check_answer<std::set<hsm::KeyKind>>(body);
            break;
        case 4:
            check_answer<hsm::KeyAttributes>(body);
            break;
        case 5:
            check_answer<std::optional<hsm::KeyAttributes>>(body);
            break;
        case 6:
            check_answer<hsm::ListedKeys>(body);
            break;
        case 7:
            check_answer<std::vector<std::optional<hsm::Encrypted>>>(body);
            break;
        case 8:
            check_answer<std::vector<std::optional<base::SecretBytes>>>(body);
            break;
        case 9:
            check_answer<base::Bytes>(body);
            break;
        case 10:
            check_answer<bool>(body);
            break;
        default:
            check_answer<hsm::Nothing>(body);
            break;
    }
    return 0;
}
