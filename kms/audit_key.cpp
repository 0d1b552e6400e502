#include "kms/audit_key.h"

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace kms {
namespace {

constexpr std::string_view key_file = "audit-key.json";
constexpr std::string_view public_file = "audit.pem";
constexpr std::size_t max_key_file_bytes = 4096;
constexpr unsigned key_file_mode = 0600;
constexpr unsigned public_file_mode = 0644;
constexpr std::string_view audit_key_label = "strongroom audit checkpoints";

struct NamedAuditKey {
    hsm::KeyId id;
    hsm::KeyKind kind;
};

class TokenSigner final : public server::CheckpointSigner {
public:
    TokenSigner(hsm::Token& token, NamedAuditKey key)
        : token_(token), key_(key), public_key_(token.public_key(key.id)) {}

    base::Bytes public_key() override { return public_key_; }
    base::Bytes sign(std::string_view text) override {
        return token_.sign(key_.id, key_.kind, base::as_bytes(text));
    }

private:
    hsm::Token& token_;
    NamedAuditKey key_;
    base::Bytes public_key_;
};

NamedAuditKey read_named(const std::filesystem::path& file) {
    const base::JsonValue value = base::parse_json(base::read_file(file, max_key_file_bytes));
    base::JsonReader reader(value);
    static_cast<void>(reader.required_integer("version", 1, 1));
    const hsm::KeyId id = reader.required_uuid("id");
    const auto kind = hsm::parse_key_kind(reader.required_string("kind", 64));
    reader.refuse_unknown();
    if (kind != hsm::KeyKind::ed25519 && kind != hsm::KeyKind::ecdsa_p256) {
        base::refuse(file.string() + " names a kind of key that signs no checkpoints");
    }
    return {id, *kind};
}

NamedAuditKey choose_key(hsm::Token& token, const std::filesystem::path& file) {
    const auto kinds = token.supported_kinds();
    if (!kinds.contains(hsm::KeyKind::ed25519) && !kinds.contains(hsm::KeyKind::ecdsa_p256)) {
        base::refuse(
            "the token can make neither Ed25519 nor P-256 keys, so it can't sign checkpoints of "
            "the audit log; leave \"audit.checkpoints\" out");
    }
    const NamedAuditKey key{base::Uuid::random(), kinds.contains(hsm::KeyKind::ed25519)
                                                      ? hsm::KeyKind::ed25519
                                                      : hsm::KeyKind::ecdsa_p256};
    base::JsonWriter out;
    out.begin_object().field("version", std::int64_t{1});
    out.field("id", key.id.to_string()).field("kind", to_string(key.kind)).end_object();
    base::write_file_durably(file, out.text(), key_file_mode);
    return key;
}

// The name is durable before the key is made, so that a crash leaves no key that nobody knows.
void make_key(hsm::Token& token, const NamedAuditKey& key, server::AuditLog& audit) {
    audit.event("create_audit_key", {{"id", key.id.to_string()},
                                     {"kind", std::string(to_string(key.kind))},
                                     {"step", "intent"}});
    token.generate_key(key.id, audit_key_label, key.kind, hsm::KeyProfile::sealed);
    audit.event("create_audit_key", {{"id", key.id.to_string()}, {"step", "done"}});
}

void require_good_key(hsm::Token& token, const NamedAuditKey& key) {
    const auto attributes = token.find_key(key.id);
    if (!attributes) {
        base::refuse(
            "the token has not the key that signs the audit log's checkpoints; open the token that "
            "has it, or give \"audit.directory\" an empty folder to begin another log");
    }
    const auto differences =
        hsm::differences_from_profile(*attributes, hsm::KeyProfile::sealed, key.kind);
    if (!differences.empty()) {
        base::refuse("the key that signs the audit log's checkpoints is not as it must be: " +
                     differences.front());
    }
}

}  // namespace

std::optional<hsm::KeyId> named_audit_key(const server::AuditLog& audit) {
    const std::filesystem::path file = audit.config().directory / key_file;
    if (!std::filesystem::exists(file)) return std::nullopt;
    return read_named(file).id;
}

std::unique_ptr<server::CheckpointSigner> open_audit_key(hsm::Token& token,
                                                         server::AuditLog& audit) {
    const std::filesystem::path folder = audit.config().directory;
    const bool named = std::filesystem::exists(folder / key_file);
    const NamedAuditKey key =
        named ? read_named(folder / key_file) : choose_key(token, folder / key_file);
    const std::filesystem::path published = folder / public_file;
    const bool proven = std::filesystem::exists(published);
    if (!proven) {
        if (token.find_key(key.id)) {
            token.make_durable(key.id);  // made, but cut short before it was proven
            audit.event("create_audit_key", {{"id", key.id.to_string()}, {"step", "found"}});
        } else {
            make_key(token, key, audit);
        }
    }
    require_good_key(token, key);
    const std::string pem = server::NoteKey::from_der(token.public_key(key.id)).to_pem();
    if (!proven) {
        base::write_file_durably(published, pem, public_file_mode);
    } else if (base::read_file(published, max_key_file_bytes) != pem) {
        base::refuse("the public key in " + published.string() +
                     " is not that of the token's key; restore the file or the token");
    }
    return std::make_unique<TokenSigner>(token, key);
}

}  // namespace kms
