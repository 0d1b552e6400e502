#include "kms/client/answer.h"

#include <algorithm>
#include <optional>

#include "base/encoding.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonReader;
using base::JsonValue;

constexpr std::size_t max_message_bytes = 1000;
// The deepest secret that the vault takes, in a list of results.
constexpr std::size_t max_answer_depth = 24;
constexpr std::size_t max_envelope_bytes = 8192;
constexpr std::size_t max_plaintext_text_bytes = 8192;  // base64 of the longest text
constexpr std::int64_t max_key_version = 0xFFFFFFFF;

ErrorCode code_of_status(int status) {
    switch (status) {
        case 400:
            return ErrorCode::invalid_argument;
        case 401:
            return ErrorCode::unauthenticated;
        case 403:
            return ErrorCode::permission_denied;
        case 404:
            return ErrorCode::not_found;
        case 405:
            return ErrorCode::method_not_allowed;
        case 408:
            return ErrorCode::request_timeout;
        case 409:
            return ErrorCode::failed_precondition;
        case 413:
            return ErrorCode::payload_too_large;
        case 415:
            return ErrorCode::unsupported_media_type;
        case 422:
            return ErrorCode::integrity_failure;
        case 429:
            return ErrorCode::resource_exhausted;
        case 431:
            return ErrorCode::header_fields_too_large;
        case 502:
        case 503:
        case 504:
            return ErrorCode::unavailable;
        default:
            return ErrorCode::internal;
    }
}

std::optional<ErrorCode> code_of_word(std::string_view word) {
    for (int value = 0; value <= static_cast<int>(ErrorCode::header_fields_too_large); ++value) {
        const auto code = static_cast<ErrorCode>(value);
        if (to_string(code) == word) return code;
    }
    return std::nullopt;
}

std::string_view text_of(const JsonValue* value) {
    const auto* text = value == nullptr ? nullptr : value->string();
    return text == nullptr ? std::string_view() : std::string_view(*text);
}

bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }

// A message goes to logs and terminals: one line of bounded length, not cut within a character.
std::string printable(std::string_view text) {
    std::size_t size = std::min(text.size(), max_message_bytes);
    while (size > 0 && size < text.size() && continues_character(text[size])) --size;
    std::string out(text.substr(0, size));
    std::replace_if(
        out.begin(), out.end(), [](char c) { return (c >= 0 && c < ' ') || c == '\x7f'; }, ' ');
    return out;
}

// `error` is {"code","message"}; null or anything else leaves the status to tell.
Error read_error(const JsonValue* error, int status, const std::string& service,
                 const std::string& detail) {
    const JsonValue nothing;
    const JsonValue& from = error == nullptr ? nothing : *error;
    const ErrorCode code =
        code_of_word(text_of(from.find("code"))).value_or(code_of_status(status));
    std::string message = printable(text_of(from.find("message")));
    if (message.empty()) message = service + " answered with status " + std::to_string(status);
    return {code, std::move(message), detail};
}

// Runs `read`; what it complains about is the answer's fault, not the caller's.
template <typename Read>
auto understand(const std::string& service, Read read) {
    try {
        return read();
    } catch (const Error& error) {
        throw Error(ErrorCode::internal, service + " sent an answer that can't be understood",
                    error.message());
    }
}

base::SecretBytes required_secret(JsonReader& reader, std::string_view name) {
    auto secret = base::parse_base64_secret(reader.required_string(name, max_plaintext_text_bytes));
    if (!secret) reader.refuse(name, "must be base64");
    return std::move(*secret);
}

std::uint32_t required_version(JsonReader& reader) {
    return static_cast<std::uint32_t>(reader.required_integer("key_version", 1, max_key_version));
}

Enveloped required_envelope(JsonReader& reader, std::string_view field) {
    Enveloped envelope;
    envelope.bytes = reader.required_base64(field, max_envelope_bytes);
    envelope.key_id = reader.required_uuid("key_id");
    envelope.key_version = required_version(reader);
    return envelope;
}

// The results of a batch in order: what `read_one` makes of each, or the error that stands there.
template <typename Result, typename ReadOne>
std::vector<Result> read_results(const JsonValue& answer, std::size_t count,
                                 const std::string& service, ReadOne read_one) {
    return understand(service, [&] {
        JsonReader reader(answer);
        const auto& items = reader.required_array("results", count, count);
        std::vector<Result> results;
        results.reserve(items.size());
        for (std::size_t i = 0; i < items.size(); ++i) {
            JsonReader item(items[i], reader.item_path("results", i));
            if (const JsonValue* error = item.optional_value("error")) {
                constexpr int no_status = 0;
                results.emplace_back(read_error(error, no_status, service, {}));
            } else {
                results.emplace_back(read_one(item));
            }
        }
        return results;
    });
}

}  // namespace

Error to_error(const Answer& answer, const std::string& service) {
    JsonValue body;
    try {
        body = base::parse_json(answer.body);
    } catch (const Error&) {
        // Not from the service itself, but something before it: the status has to do.
    }
    const JsonValue* error = body.find("error");
    std::string detail = "status " + std::to_string(answer.status);
    if (error != nullptr) {
        const std::string request_id = printable(text_of(error->find("request_id")));
        if (!request_id.empty()) detail += ", request " + request_id;
    }
    return read_error(error, answer.status, service, detail);
}

JsonValue parse_answer(const Answer& answer, const std::string& service) {
    if (answer.status < 200 || answer.status > 299) throw to_error(answer, service);
    if (answer.body.empty()) return {};
    base::JsonLimits limits;
    limits.bytes = answer.body.size();
    limits.depth = max_answer_depth;
    return understand(service, [&] { return base::parse_json(answer.body, limits); });
}

std::vector<DataKey> read_data_keys(const JsonValue& answer, std::size_t count, bool with_plaintext,
                                    const std::string& service) {
    return understand(service, [&] {
        JsonReader reader(answer);
        const base::Uuid key_id = reader.required_uuid("key_id");
        const std::uint32_t version = required_version(reader);
        const auto& items = reader.required_array("data_keys", count, count);
        std::vector<DataKey> keys;
        keys.reserve(items.size());
        for (std::size_t i = 0; i < items.size(); ++i) {
            JsonReader item(items[i], reader.item_path("data_keys", i));
            DataKey key;
            key.wrapped = item.required_base64("wrapped", max_envelope_bytes);
            if (with_plaintext) key.plaintext = required_secret(item, "plaintext");
            key.key_id = key_id;
            key.key_version = version;
            keys.push_back(std::move(key));
        }
        return keys;
    });
}

base::SecretBytes read_plaintext(const JsonValue& answer, const std::string& service) {
    return understand(service, [&] {
        JsonReader reader(answer);
        return required_secret(reader, "plaintext");
    });
}

Enveloped read_enveloped(const JsonValue& answer, std::string_view field,
                         const std::string& service) {
    return understand(service, [&] {
        JsonReader reader(answer);
        return required_envelope(reader, field);
    });
}

std::vector<UnwrapResult> read_unwrap_results(const JsonValue& answer, std::size_t count,
                                              const std::string& service) {
    return read_results<UnwrapResult>(answer, count, service, [](JsonReader& item) {
        return required_secret(item, "plaintext");
    });
}

std::vector<RewrapResult> read_rewrap_results(const JsonValue& answer, std::size_t count,
                                              const std::string& service) {
    return read_results<RewrapResult>(answer, count, service, [](JsonReader& item) {
        return required_envelope(item, "wrapped");
    });
}

std::vector<RewrapResult> read_committed_results(const JsonValue& answer, std::size_t count,
                                                 const std::string& service) {
    return read_results<RewrapResult>(answer, count, service, [](JsonReader& item) {
        Enveloped envelope = required_envelope(item, "wrapped");
        const base::Bytes bytes = item.required_base64("commitment", sizeof(base::KeyCommitment),
                                                       sizeof(base::KeyCommitment));
        std::copy(bytes.begin(), bytes.end(), envelope.commitment.emplace().begin());
        return envelope;
    });
}

}  // namespace kms
