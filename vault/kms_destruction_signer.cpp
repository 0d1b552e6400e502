#include "vault/kms_destruction_signer.h"

#include "base/error.h"
#include "base/json.h"

namespace vault {
namespace {

constexpr std::size_t max_destruction_signature_bytes = 1024;
constexpr std::size_t max_algorithm_bytes = 64;

}  // namespace

// Whatever the key service objects to is for an operator to end. Without it nothing can be revealed
// either, so that a destruction may wait.
DestructionSignature KmsDestructionSigner::sign(std::string_view text,
                                                const std::string& traceparent) {
    try {
        base::JsonWriter body;
        body.begin_object().name("message").base64(base::as_bytes(text)).end_object();
        const base::JsonValue answer =
            client_.call("POST", kms::key_path(key_) + "/sign", body.text(),
                         {.traceparent = traceparent, .idempotency_key = {}});
        base::JsonReader reader(answer);
        DestructionSignature made;
        made.bytes = reader.required_base64("signature", max_destruction_signature_bytes);
        made.algorithm = reader.required_string("algorithm", max_algorithm_bytes);
        made.key.key_id = reader.required_uuid("key_id");
        made.key.version =
            static_cast<std::uint32_t>(reader.required_integer("key_version", 1, UINT32_MAX));
        return made;
    } catch (const base::Error& error) {
        throw base::Error(base::ErrorCode::unavailable,
                          "the key service signs no record of the destruction now; nothing was "
                          "destroyed",
                          error.what());
    }
}

}  // namespace vault
