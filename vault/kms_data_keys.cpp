#include "vault/kms_data_keys.h"

#include <utility>

#include "vault/sealed.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;

// What the key service answers this vault is not what this vault answers its caller: a refusal of
// the vault (no right, unknown master key, a certificate that expired) is an outage that its
// operator must end.
[[noreturn]] void rethrow(const Error& error) {
    switch (error.code()) {
        case ErrorCode::integrity_failure:
            throw base::decryption_failed("key service: " + std::string(error.what()));
        case ErrorCode::resource_exhausted:
            throw Error(ErrorCode::resource_exhausted, "the key service limits this vault",
                        error.what());
        case ErrorCode::unavailable:
        case ErrorCode::quota_check_failed:
        case ErrorCode::internal:
        case ErrorCode::request_timeout:
            throw Error(ErrorCode::unavailable, "the key service is not available", error.what());
        case ErrorCode::unauthenticated:
        case ErrorCode::permission_denied:
        case ErrorCode::caller_suspended:
        case ErrorCode::not_found:
        case ErrorCode::failed_precondition:
            throw Error(ErrorCode::unavailable,
                        "the key service refuses this vault; its operator must act", error.what());
        case ErrorCode::invalid_argument:
        case ErrorCode::already_exists:
        case ErrorCode::method_not_allowed:
        case ErrorCode::payload_too_large:
        case ErrorCode::unsupported_media_type:
        case ErrorCode::header_fields_too_large:
            break;
    }
    throw Error(ErrorCode::internal, "the key service did not understand this vault", error.what());
}

kms::CallOptions options(const std::string& traceparent) {
    return {.traceparent = traceparent, .idempotency_key = {}};
}

}  // namespace

KmsDataKeys::KmsDataKeys(kms::Client& client, std::string master_key)
    : client_(client), master_key_(std::move(master_key)) {}

DataKey KmsDataKeys::create(const KeyContext& context, const std::string& traceparent) {
    try {
        auto keys = client_.create_data_keys(master_key_, context, data_key_bytes, 1, true,
                                             options(traceparent));
        if (keys.size() != 1)
            throw Error(ErrorCode::internal, "the key service made another number of data keys");
        kms::DataKey& key = keys.front();
        return {std::move(key.plaintext), std::move(key.wrapped), key.key_id, key.key_version};
    } catch (const Error& error) {
        rethrow(error);
    }
}

base::SecretBytes KmsDataKeys::unwrap(base::ByteView wrapped, const KeyContext& context,
                                      const std::string& traceparent) {
    try {
        return client_.unwrap({base::to_bytes(wrapped), context}, options(traceparent));
    } catch (const Error& error) {
        rethrow(error);
    }
}

void KmsDataKeys::check() {
    try {
        client_.check_ready();
    } catch (const Error& error) {
        // Without the right to observe, the vault learns that the service answers, and no more.
        if (error.code() != ErrorCode::permission_denied) rethrow(error);
    }
}

}  // namespace vault
