// What a token does with keys that sign or make MACs.
#include "hsm/pkcs11_kinds.h"
#include "hsm/pkcs11_token.h"
#include "hsm/public_key.h"

namespace hsm {

std::set<KeyKind> Pkcs11Token::supported_kinds() {
    return connection_->repeatable([&](const Operation& operation) {
        const CK_SLOT_ID slot = operation.session().info().slotID;
        std::set<KeyKind> kinds;
        for (const KeyKind kind : all_key_kinds) {
            if (is_supported(*module_, slot, kind)) kinds.insert(kind);
        }
        return kinds;
    });
}

base::Bytes Pkcs11Token::public_key(const KeyId& id) {
    return connection_->repeatable([&](const Operation& operation) {
        const KnownKey key = require_key(operation, id);
        if (key.public_key == nullptr) {
            throw base::Error(base::ErrorCode::internal, "the token's key has no public half",
                              "CKA_ID " + id.to_string());
        }
        return *key.public_key;
    });
}

base::Bytes Pkcs11Token::sign(const KeyId& id, KeyKind kind, base::ByteView message) {
    // The second time is for what a flipped bit spoilt in the first.
    for (int times = 0; times < 2; ++times) {
        std::shared_ptr<const base::Bytes> public_key;
        base::Bytes signature = connection_->repeatable([&](const Operation& operation) {
            const KnownKey key = require_key(operation, id, kind);
            public_key = key.public_key;
            return hsm::sign(operation.session(), key.handle, kind, message);
        });
        if (public_key != nullptr && verify_signature(kind, *public_key, message, signature))
            return signature;
        log_.error("the token made a signature that does not verify; it is thrown away",
                   {{"key", id.to_string()}});
    }
    connection_->doubt_handles();
    throw base::Error(base::ErrorCode::internal, "the token made a signature that does not verify",
                      "CKA_ID " + id.to_string());
}

bool Pkcs11Token::verify(const KeyId& id, KeyKind kind, base::ByteView message,
                         base::ByteView signature) {
    const auto public_key = connection_->repeatable(
        [&](const Operation& operation) { return require_key(operation, id, kind).public_key; });
    return public_key != nullptr && verify_signature(kind, *public_key, message, signature);
}

base::Bytes Pkcs11Token::mac(const KeyId& id, base::ByteView message) {
    return connection_->repeatable([&](const Operation& operation) {
        const KnownKey key = require_key(operation, id, KeyKind::hmac_sha_256);
        base::Bytes mac = hsm::sign(operation.session(), key.handle, key.kind, message);
        keys_.require_id(operation.session(), key.handle, id);
        return mac;
    });
}

bool Pkcs11Token::verify_mac(const KeyId& id, base::ByteView message, base::ByteView mac) {
    return base::equal_constant_time(this->mac(id, message), mac);
}

}  // namespace hsm
