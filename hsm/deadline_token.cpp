#include "hsm/deadline_token.h"

#include <algorithm>

namespace hsm {
namespace {

// The items of a batch with what they only had views of.
struct OwnedEncryptItem {
    KeyId key;
    base::Bytes aad;
    base::SecretBytes plaintext;
};
struct OwnedDecryptItem {
    KeyId key;
    Iv iv;
    base::Bytes aad;
    base::Bytes ciphertext;
};

}  // namespace

std::set<KeyKind> DeadlineToken::supported_kinds() {
    return runner_.run(deadlines_.use, [token = token_] { return token->supported_kinds(); });
}

KeyAttributes DeadlineToken::generate_key(const KeyId& id, std::string_view label, KeyKind kind,
                                          KeyProfile profile) {
    return runner_.run(deadlines_.manage,
                       [token = token_, id, label = std::string(label), kind, profile] {
                           return token->generate_key(id, label, kind, profile);
                       });
}

void DeadlineToken::make_durable(const KeyId& id) {
    runner_.run(deadlines_.manage, [token = token_, id] { token->make_durable(id); });
}

std::optional<KeyAttributes> DeadlineToken::find_key(const KeyId& id) {
    return runner_.run(deadlines_.manage, [token = token_, id] { return token->find_key(id); });
}

std::vector<KeyId> DeadlineToken::list_keys(std::size_t* unnamed_objects) {
    auto [ids, unnamed] = runner_.run(deadlines_.manage, [token = token_] {
        std::size_t count = 0;
        auto found = token->list_keys(&count);
        return std::pair(std::move(found), count);
    });
    if (unnamed_objects != nullptr) *unnamed_objects = unnamed;
    return std::move(ids);
}

void DeadlineToken::destroy_key(const KeyId& id) {
    runner_.run(deadlines_.manage, [token = token_, id] { token->destroy_key(id); });
}

Encrypted DeadlineToken::encrypt(const KeyId& id, base::ByteView aad, base::ByteView plaintext) {
    return runner_.run(deadlines_.use, [token = token_, id, aad = base::to_bytes(aad),
                                        plaintext = base::SecretBytes(plaintext)] {
        return token->encrypt(id, aad, plaintext.expose());
    });
}

std::vector<std::optional<Encrypted>> DeadlineToken::encrypt_many(
    std::span<const EncryptItem> items) {
    std::vector<OwnedEncryptItem> owned;
    owned.reserve(items.size());
    for (const EncryptItem& item : items)
        owned.push_back({item.key, base::to_bytes(item.aad), base::SecretBytes(item.plaintext)});
    return runner_.run(of_batch(items.size()), [token = token_, owned = std::move(owned)] {
        std::vector<EncryptItem> views;
        views.reserve(owned.size());
        for (const auto& item : owned)
            views.push_back({item.key, item.aad, item.plaintext.expose()});
        return token->encrypt_many(views);
    });
}

base::SecretBytes DeadlineToken::decrypt(const KeyId& id, const Iv& iv, base::ByteView aad,
                                         base::ByteView ciphertext) {
    return runner_.run(deadlines_.use, [token = token_, id, iv, aad = base::to_bytes(aad),
                                        ciphertext = base::to_bytes(ciphertext)] {
        return token->decrypt(id, iv, aad, ciphertext);
    });
}

std::vector<std::optional<base::SecretBytes>> DeadlineToken::decrypt_many(
    std::span<const DecryptItem> items) {
    std::vector<OwnedDecryptItem> owned;
    owned.reserve(items.size());
    for (const DecryptItem& item : items) {
        owned.push_back(
            {item.key, item.iv, base::to_bytes(item.aad), base::to_bytes(item.ciphertext)});
    }
    return runner_.run(of_batch(items.size()), [token = token_, owned = std::move(owned)] {
        std::vector<DecryptItem> views;
        views.reserve(owned.size());
        for (const auto& item : owned)
            views.push_back({item.key, item.iv, item.aad, item.ciphertext});
        return token->decrypt_many(views);
    });
}

base::Bytes DeadlineToken::public_key(const KeyId& id) {
    return runner_.run(deadlines_.use, [token = token_, id] { return token->public_key(id); });
}

base::Bytes DeadlineToken::sign(const KeyId& id, KeyKind kind, base::ByteView message) {
    return runner_.run(deadlines_.use,
                       [token = token_, id, kind, message = base::to_bytes(message)] {
                           return token->sign(id, kind, message);
                       });
}

bool DeadlineToken::verify(const KeyId& id, KeyKind kind, base::ByteView message,
                           base::ByteView signature) {
    return runner_.run(deadlines_.use, [token = token_, id, kind, message = base::to_bytes(message),
                                        signature = base::to_bytes(signature)] {
        return token->verify(id, kind, message, signature);
    });
}

base::Bytes DeadlineToken::mac(const KeyId& id, base::ByteView message) {
    return runner_.run(deadlines_.use, [token = token_, id, message = base::to_bytes(message)] {
        return token->mac(id, message);
    });
}

bool DeadlineToken::verify_mac(const KeyId& id, base::ByteView message, base::ByteView mac) {
    return runner_.run(deadlines_.use,
                       [token = token_, id, message = base::to_bytes(message),
                        mac = base::to_bytes(mac)] { return token->verify_mac(id, message, mac); });
}

bool DeadlineToken::hold_to(const KeyId& id, const KeyEvidence& known) {
    return runner_.run(deadlines_.use,
                       [token = token_, id, known] { return token->hold_to(id, known); });
}

void DeadlineToken::random(std::span<std::uint8_t> out) {
    const base::SecretBytes drawn =
        runner_.run(deadlines_.use, [token = token_, size = out.size()] {
            base::SecretBytes bytes(size);
            token->random(bytes.expose_mutable());
            return bytes;
        });
    std::copy(drawn.expose().begin(), drawn.expose().end(), out.begin());
}

void DeadlineToken::check() {
    runner_.run(deadlines_.use, [token = token_] { token->check(); });
}

}  // namespace hsm
