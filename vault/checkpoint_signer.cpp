#include "vault/checkpoint_signer.h"

#include <optional>
#include <utility>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/uuid.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::string_view signing_key_file = "audit-key.json";
constexpr std::string_view signing_public_file = "audit.pem";
constexpr std::size_t max_signing_key_bytes = 4096;
constexpr std::size_t max_signature_bytes = 256;
constexpr std::int64_t max_signing_version = 0x7fffffff;

struct SigningKey {
    base::Uuid id;
    std::int64_t version = 0;
    bool operator==(const SigningKey&) const = default;
};

SigningKey read_signing_key(base::JsonReader& reader) {
    return {reader.required_uuid("key_id"),
            reader.required_integer("key_version", 1, max_signing_version)};
}

template <typename Read>
auto understand(Read read) {
    try {
        return read();
    } catch (const Error& error) {
        if (error.code() != ErrorCode::invalid_argument) throw;
        throw Error(ErrorCode::unavailable,
                    "the key service has no key that can sign checkpoints there (Ed25519 or P-256)",
                    error.what());
    }
}

class KmsSigner final : public server::CheckpointSigner {
public:
    KmsSigner(const kms::ClientConfig& config, std::string key, std::filesystem::path directory)
        : client_(config), key_(std::move(key)), directory_(std::move(directory)) {
        if (!std::filesystem::exists(directory_ / signing_public_file)) return;
        const std::string text =
            base::read_file(directory_ / signing_key_file, max_signing_key_bytes);
        const base::JsonValue value = base::parse_json(text);
        base::JsonReader reader(value);
        static_cast<void>(reader.required_integer("version", 1, 1));
        known_ = read_signing_key(reader);
        reader.refuse_unknown();
        public_key_.emplace(server::NoteKey::from_pem(
            base::read_file(directory_ / signing_public_file, max_signing_key_bytes)));
    }

    base::Bytes public_key() override {
        learn_key();
        return public_key_->to_der();
    }

    base::Bytes sign(std::string_view text) override {
        learn_key();
        base::JsonWriter body;
        body.begin_object().name("message").base64(base::as_bytes(text)).end_object();
        const base::JsonValue answer = ask("POST", kms::key_path(key_) + "/sign", body.text());
        return understand([&] {
            base::JsonReader reader(answer);
            if (read_signing_key(reader) != known_) {
                throw Error(ErrorCode::unavailable,
                            "the key service signs with another key, or another version of it, "
                            "than the one this audit log began with",
                            "give \"audit.directory\" an empty folder to begin another log");
            }
            return reader.required_base64("signature", max_signature_bytes);
        });
    }

private:
    // The first time: from the key service. What is written first is completed by what comes
    // second.
    void learn_key() {
        if (public_key_) return;
        const base::JsonValue answer = ask("GET", kms::key_path(key_) + "/public-key", {});
        understand([&] {
            base::JsonReader reader(answer);
            known_ = read_signing_key(reader);
            server::NoteKey key = server::NoteKey::from_pem(
                reader.required_string("public_key", max_signing_key_bytes));
            base::JsonWriter out;
            out.begin_object().field("version", std::int64_t{1});
            out.field("key_id", known_.id.to_string()).field("key_version", known_.version);
            out.end_object();
            base::write_file_durably(directory_ / signing_key_file, out.text(), 0600);
            base::write_file_durably(directory_ / signing_public_file, key.to_pem(), 0644);
            public_key_.emplace(std::move(key));
            return 0;
        });
    }

    // Whatever the key service objects to is for an operator to end; the log goes on.
    base::JsonValue ask(std::string_view method, const std::string& path, std::string_view body) {
        try {
            return client_.call(method, path, body);
        } catch (const Error& error) {
            throw Error(ErrorCode::unavailable, "the key service signs no checkpoint now",
                        error.what());
        }
    }

    kms::Client client_;
    const std::string key_;
    const std::filesystem::path directory_;
    SigningKey known_;
    std::optional<server::NoteKey> public_key_;
};

}  // namespace

std::unique_ptr<server::CheckpointSigner> make_checkpoint_signer(
    const kms::ClientConfig& client, std::string key, std::filesystem::path audit_directory) {
    return std::make_unique<KmsSigner>(client, std::move(key), std::move(audit_directory));
}

}  // namespace vault
