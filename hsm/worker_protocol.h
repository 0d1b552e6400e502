// What kmsd and its token worker say to each other: one request and one answer for each operation
// of hsm::Token, and the words with which a worker is opened. There is no other operation, and none
// that a PKCS#11 call could be put into, so who holds the socket can do what hsm::Token can do.
//
//  request  0   4  length of what follows, big endian, at most max_frame_bytes
//           4   4  number of the request, given back in its answer
//           8   1  operation: its place in WorkerRequest
//           9   n  its fields, as hsm/worker_wire.h writes them
//  answer   0   4  length of what follows
//           4   4  number of the request
//           8   4  logins at the token so far
//          12   1  0: done, with the operation's answer behind; else 1 + base::ErrorCode, with
//          message
//                  and detail behind
//          13   1  1: the token refused the PIN, so it must not be shown to it again
#pragma once

#include <variant>

#include "hsm/worker_wire.h"

namespace hsm {

inline constexpr std::uint32_t worker_protocol_version = 3;
inline constexpr std::size_t frame_length_bytes = 4;
inline constexpr std::size_t max_frame_bytes = 8UL * 1024 * 1024;
// What one request of many items may carry; more is sent as several.
inline constexpr std::size_t max_batch_bytes = 1024UL * 1024;
inline constexpr std::size_t max_batch_items = 256;
inline constexpr std::size_t max_random_bytes = 64UL * 1024;
inline constexpr std::size_t max_error_text_bytes = 4096;

// How long an answer may take: what is used all the time, what searches and proves, what makes or
// destroys keys. The last is not asked for while another worker is being opened.
enum class Pace { quick, slow, making };

struct Nothing {};
struct ListedKeys {
    std::vector<KeyId> ids;
    std::uint64_t unnamed = 0;
};

// `repeatable` is what may be asked of a second worker when the first was lost on the way. What
// makes something, and what a caller counts, is not.
struct SupportedKindsRequest {
    using Answer = std::set<KeyKind>;
    static constexpr Pace pace = Pace::quick;
    static constexpr bool repeatable = true;
};
struct GenerateKeyRequest {
    using Answer = KeyAttributes;
    static constexpr Pace pace = Pace::making;
    static constexpr bool repeatable = false;
    KeyId key;
    std::string_view label;
    KeyKind kind = KeyKind::aes_256;
    KeyProfile profile = KeyProfile::sealed;
};
struct MakeDurableRequest {
    using Answer = Nothing;
    static constexpr Pace pace = Pace::slow;
    static constexpr bool repeatable = true;
    KeyId key;
};
struct FindKeyRequest {
    using Answer = std::optional<KeyAttributes>;
    static constexpr Pace pace = Pace::slow;
    static constexpr bool repeatable = true;
    KeyId key;
};
struct ListKeysRequest {
    using Answer = ListedKeys;
    static constexpr Pace pace = Pace::slow;
    static constexpr bool repeatable = true;
};
struct DestroyKeyRequest {
    using Answer = Nothing;
    static constexpr Pace pace = Pace::making;
    static constexpr bool repeatable = false;
    KeyId key;
};
struct EncryptRequest {
    using Answer = Encrypted;
    static constexpr Pace pace = Pace::quick;
    static constexpr bool repeatable = false;
    KeyId key;
    base::ByteView aad;
    base::ByteView plaintext;
};
struct EncryptManyRequest {
    using Answer = std::vector<std::optional<Encrypted>>;
    static constexpr Pace pace = Pace::quick;
    static constexpr bool repeatable = false;
    std::vector<EncryptItem> items;
};
struct DecryptRequest {
    using Answer = base::SecretBytes;
    static constexpr Pace pace = Pace::quick;
    static constexpr bool repeatable = true;
    KeyId key;
    Iv iv{};
    base::ByteView aad;
    base::ByteView ciphertext;
};
struct DecryptManyRequest {
    using Answer = std::vector<std::optional<base::SecretBytes>>;
    static constexpr Pace pace = Pace::quick;
    static constexpr bool repeatable = true;
    std::vector<DecryptItem> items;
};
struct PublicKeyRequest {
    using Answer = base::Bytes;
    static constexpr Pace pace = Pace::quick;
    static constexpr bool repeatable = true;
    KeyId key;
};
struct SignRequest {
    using Answer = base::Bytes;
    static constexpr Pace pace = Pace::quick;
    static constexpr bool repeatable = true;
    KeyId key;
    KeyKind kind = KeyKind::aes_256;
    base::ByteView message;
};
struct VerifyRequest {
    using Answer = bool;
    static constexpr Pace pace = Pace::quick;
    static constexpr bool repeatable = true;
    KeyId key;
    KeyKind kind = KeyKind::aes_256;
    base::ByteView message;
    base::ByteView signature;
};
struct MacRequest {
    using Answer = base::Bytes;
    static constexpr Pace pace = Pace::quick;
    static constexpr bool repeatable = true;
    KeyId key;
    base::ByteView message;
};
struct VerifyMacRequest {
    using Answer = bool;
    static constexpr Pace pace = Pace::quick;
    static constexpr bool repeatable = true;
    KeyId key;
    base::ByteView message;
    base::ByteView mac;
};
struct RandomRequest {
    using Answer = base::SecretBytes;
    static constexpr Pace pace = Pace::quick;
    static constexpr bool repeatable = true;
    std::uint32_t size = 0;  // at most max_random_bytes
};
struct CheckRequest {
    using Answer = Nothing;
    static constexpr Pace pace = Pace::quick;
    static constexpr bool repeatable = true;
};

struct HoldToRequest {
    using Answer = bool;
    static constexpr Pace pace = Pace::quick;
    static constexpr bool repeatable = true;
    KeyId key;
    KeyEvidence known;
};

using WorkerRequest =
    std::variant<SupportedKindsRequest, GenerateKeyRequest, MakeDurableRequest, FindKeyRequest,
                 ListKeysRequest, DestroyKeyRequest, EncryptRequest, EncryptManyRequest,
                 DecryptRequest, DecryptManyRequest, PublicKeyRequest, SignRequest, VerifyRequest,
                 MacRequest, VerifyMacRequest, RandomRequest, CheckRequest, HoldToRequest>;

// The first request to a worker, on the socket that it was started with. It carries a PIN only when
// a person typed it; else the worker reads the file.
struct WorkerOpening {
    using Answer = TokenInfo;
    std::uint32_t protocol = worker_protocol_version;
    std::string module, uri, init_string;
    std::uint64_t max_sessions = 0;
    std::uint64_t session_patience_ms = 0;
    std::string softhsm_config, readback_program;
    std::string pin_file;
    base::SecretBytes pin;
    base::LogLevel log_level = base::LogLevel::info;
};

// What stands in front of each answer.
struct AnswerHead {
    std::uint32_t number = 0;
    std::uint32_t logins = 0;
    std::optional<base::ErrorCode> error;
    bool is_pin_refused = false;
};

// A whole frame in `out`, whose former content is wiped away with its memory. Throws
// invalid_argument for more than max_frame_bytes.
void write_request(WireBytes& out, std::uint32_t number, const WorkerRequest& request);
void write_opening(WireBytes& out, std::uint32_t number, const WorkerOpening& opening);
void write_refusal(WireBytes& out, AnswerHead head, const base::Error& error);

struct NumberedRequest {
    std::uint32_t number = 0;
    WorkerRequest request;  // its views point into what was read
};
// Of a frame without its length. Throw internal for anything that the functions above don't write;
// an opening of another version failed_precondition.
NumberedRequest read_request(base::ByteView frame);
WorkerOpening read_opening(base::ByteView frame, std::uint32_t& number);
// The head, and a reader that stands behind it.
AnswerHead read_head(WireReader& reader);
// What write_refusal() wrote behind the head.
base::Error read_refusal(WireReader& reader, base::ErrorCode code);

// Frames that are not of a variant: begin, append, end.
void begin_frame(WireBytes& out);
void end_frame(WireBytes& out);
void write_head(WireBytes& out, const AnswerHead& head);

template <typename Answer>
void write_answer(WireBytes& out, const AnswerHead& head, const Answer& answer) {
    begin_frame(out);
    write_head(out, head);
    WireWriter writer(out);
    writer(answer);
    end_frame(out);
}
template <typename Answer>
Answer read_answer(WireReader& reader) {
    Answer answer = reader.next<Answer>();
    reader.require_end();
    return answer;
}

}  // namespace hsm
