#include "vault/opening.h"

#include <string_view>
#include <utility>

#include "base/error.h"

namespace vault {
namespace {

SealedCredential read_sealed(std::string_view text, const VersionInfo& row) {
    SealedCredential sealed = parse_stored(text);
    if (sealed.key_id != row.key_id || sealed.key_version != row.key_version)
        throw base::decryption_failed("the row's master key columns differ from its kid");
    return sealed;
}

SealBinding bind(const CredentialId& id, const VersionInfo& version,
                 const std::optional<std::uint64_t>& restored_from) {
    return {.owner = id.owner,
            .name = id.name,
            .version = version.version,
            .created_at = version.created_at,
            .expires_at = version.expires_at,
            .restored_from = restored_from};
}

SealBinding binding_of(const StoredVersion& stored) {
    return bind(stored.info.id, stored.version, stored.restored_from);
}

SealBinding binding_of_current(const StoredVersion& stored) {
    return bind(stored.info.id, stored.info.current(), stored.current->restored_from);
}

// Of what opened: the seal of the current version.
void require_attributes(const SealedCredential& sealed, const CredentialInfo& info) {
    if (sealed.attributes && *sealed.attributes != attributes_of(info)) {
        throw base::decryption_failed(
            "the credential's metadata, tags, times or first version are not those of its current "
            "version");
    }
}

}  // namespace

Found read_found(StoredVersion stored) {
    SealedCredential sealed = read_sealed(stored.sealed, stored.version);
    std::optional<SealedCredential> current;
    if (stored.current) current = read_sealed(stored.current->sealed, stored.info.current());
    return {std::move(stored), std::move(sealed), std::move(current)};
}

std::vector<WrappedKey> wrapped_keys(const Found& found) {
    std::vector<WrappedKey> keys;
    keys.reserve(count_of_keys(found));
    keys.push_back({found.sealed.wrapped_data_key, key_context(binding_of(found.stored))});
    if (found.current) {
        keys.push_back(
            {found.current->wrapped_data_key, key_context(binding_of_current(found.stored))});
    }
    return keys;
}

base::SecretBytes open_found(const Found& found, const base::SecretBytes& key,
                             const base::SecretBytes* current) {
    base::SecretBytes secret = open(found.sealed, binding_of(found.stored), key);
    if (!found.current) {
        require_attributes(found.sealed, found.stored.info);
        return secret;
    }
    if (current == nullptr)
        throw base::Error(base::ErrorCode::internal, "the current version's data key is missing");
    static_cast<void>(open(*found.current, binding_of_current(found.stored), *current));
    require_attributes(*found.current, found.stored.info);
    // Only now is it known which one is the first.
    if (found.current->attributes &&
        found.stored.version.version < found.stored.info.first_version) {
        throw base::decryption_failed("the version is of before the credential was destroyed");
    }
    return secret;
}

}  // namespace vault
