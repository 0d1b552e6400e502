// Small texts on the wire: encrypt and decrypt directly under a master key.
#include "base/encoding.h"
#include "base/error.h"
#include "base/json.h"
#include "kms/actions.h"
#include "kms/api.h"
#include "kms/api_data.h"
#include "kms/batch.h"
#include "server/answer.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;

base::SecretBytes read_text(base::JsonReader& reader) {
    constexpr std::size_t max_base64_bytes = (max_text_bytes + 2) / 3 * 4;
    auto text = base::parse_base64_secret(reader.required_string("plaintext", max_base64_bytes, 0));
    if (!text) reader.refuse("plaintext", "must be canonical base64 with padding");
    if (text->size() < min_text_bytes || text->size() > max_text_bytes) {
        reader.refuse("plaintext", "must be base64 of " + std::to_string(min_text_bytes) + " to " +
                                       std::to_string(max_text_bytes) + " bytes");
    }
    return std::move(*text);
}

}  // namespace

std::vector<server::Route> Api::text_routes() {
    using server::Access;
    using server::Method;
    const auto encrypt_handler = [this](server::Operation& operation,
                                        const server::Request& request) {
        return encrypt(operation, request);
    };
    return {{Method::POST, "/v1/keys/{key}/encrypt", encrypt_action, Access::authenticated,
             max_data_body_bytes, "Encrypt up to 4 KiB under a master key", encrypt_handler},
            {Method::POST, "/v1/keys/alias/{alias}/encrypt", encrypt_action, Access::authenticated,
             max_data_body_bytes, "Encrypt up to 4 KiB under the master key of an alias",
             encrypt_handler},
            {Method::POST, "/v1/decrypt", decrypt_action, Access::authenticated,
             max_data_body_bytes, "Decrypt what was encrypted so",
             [this](server::Operation& operation, const server::Request& request) {
                 return decrypt(operation, request);
             }}};
}

server::Response Api::encrypt(server::Operation& operation, const server::Request& request) {
    server::refuse_query(request);
    NamedKey named = name_key(request);
    const base::JsonValue body = parse_body(request, max_data_body_bytes);
    base::JsonReader reader(body);
    const base::SecretBytes text = read_text(reader);
    const Context context(read_context(reader));
    reader.refuse_unknown();

    const server::Grant grant =
        parts_.authorizer.authorize(operation, encrypt_action, named.resource, context.entries);
    if (named.key == nullptr) refuse_unknown_key(parts_.authorizer, operation, named.resource);
    const Envelope made = parts_.service.encrypt(grant, named.key->id, context, text.expose());
    operation.set_fact("key_version", std::to_string(made.key_version));

    base::JsonWriter answer;
    answer.begin_object().name("ciphertext").base64(to_bytes(made));
    write_key(answer, made);
    answer.end_object();
    return server::json_answer(std::move(answer));
}

server::Response Api::decrypt(server::Operation& operation, const server::Request& request) {
    server::refuse_query(request);
    const base::JsonValue body = parse_body(request, max_data_body_bytes);
    base::JsonReader reader(body);
    Rights rights(parts_.authorizer, operation);
    // Any length passes, as for unwrap.
    const base::Bytes bytes = reader.required_base64("ciphertext", max_data_body_bytes, 0);
    const Context& context = rights.context(read_context(reader));
    reader.refuse_unknown();
    operation.add_record(base::as_text(bytes));
    rights.require_any(decrypt_action);

    auto envelope = parse_envelope(EnvelopeKind::small_text, bytes);
    if (!envelope) throw base::decryption_failed("not a ciphertext of ours");
    operation.set_fact("key_version", std::to_string(envelope->key_version));
    const KeyPointer key = parts_.catalogue.snapshot()->find(envelope->key_id);
    if (key == nullptr) throw base::decryption_failed("no such key");
    const Verdict& verdict = rights.to_open(decrypt_action, key, context);
    if (!verdict.grant) throw Error(verdict.refusal());
    const OpenJob job{&*verdict.grant, verdict.compromised ? &*verdict.compromised : nullptr,
                      &context, std::move(*envelope)};
    const base::SecretBytes text = parts_.service.decrypt(job);

    base::JsonWriter answer;
    answer.begin_object().name("plaintext").base64(text.expose());
    write_key(answer, job.envelope);
    answer.end_object();
    return server::json_answer(std::move(answer));
}

}  // namespace kms
