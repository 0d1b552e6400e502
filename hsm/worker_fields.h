// The fields of everything that crosses between kmsd and its token worker, in the order in which
// they are written. Included by what reads and writes frames only.
#pragma once

#include "hsm/worker_protocol.h"

namespace hsm {

// Nothing to say but that it happened.
struct NoFields {
    template <typename Archive, typename Struct>
    static void pass(Archive& /*archive*/, Struct& /*value*/) {}
};
template <>
struct Fields<Nothing> : NoFields {};
template <>
struct Fields<SupportedKindsRequest> : NoFields {};
template <>
struct Fields<ListKeysRequest> : NoFields {};
template <>
struct Fields<CheckRequest> : NoFields {};

// Only the id of a key.
struct KeyField {
    template <typename Archive, typename Struct>
    static void pass(Archive& archive, Struct& value) {
        archive(value.key);
    }
};
template <>
struct Fields<MakeDurableRequest> : KeyField {};
template <>
struct Fields<FindKeyRequest> : KeyField {};
template <>
struct Fields<DestroyKeyRequest> : KeyField {};
template <>
struct Fields<PublicKeyRequest> : KeyField {};

// One key and what is to be done with it.
struct EncryptFields {
    template <typename Archive, typename Struct>
    static void pass(Archive& archive, Struct& value) {
        archive(value.key, value.aad, value.plaintext);
    }
};
template <>
struct Fields<EncryptRequest> : EncryptFields {};
template <>
struct Fields<EncryptItem> : EncryptFields {};
struct DecryptFields {
    template <typename Archive, typename Struct>
    static void pass(Archive& archive, Struct& value) {
        archive(value.key, value.iv, value.aad, value.ciphertext);
    }
};
template <>
struct Fields<DecryptRequest> : DecryptFields {};
template <>
struct Fields<DecryptItem> : DecryptFields {};
struct ItemsField {
    template <typename Archive, typename Struct>
    static void pass(Archive& archive, Struct& value) {
        archive(value.items);
    }
};
template <>
struct Fields<EncryptManyRequest> : ItemsField {};
template <>
struct Fields<DecryptManyRequest> : ItemsField {};

template <>
struct Fields<GenerateKeyRequest> {
    template <typename Archive, typename Struct>
    static void pass(Archive& archive, Struct& value) {
        archive(value.key, value.label, value.kind, value.profile);
    }
};
template <>
struct Fields<SignRequest> {
    template <typename Archive, typename Struct>
    static void pass(Archive& archive, Struct& value) {
        archive(value.key, value.kind, value.message);
    }
};
template <>
struct Fields<VerifyRequest> {
    template <typename Archive, typename Struct>
    static void pass(Archive& archive, Struct& value) {
        archive(value.key, value.kind, value.message, value.signature);
    }
};
template <>
struct Fields<MacRequest> {
    template <typename Archive, typename Struct>
    static void pass(Archive& archive, Struct& value) {
        archive(value.key, value.message);
    }
};
template <>
struct Fields<VerifyMacRequest> {
    template <typename Archive, typename Struct>
    static void pass(Archive& archive, Struct& value) {
        archive(value.key, value.message, value.mac);
    }
};
template <>
struct Fields<RandomRequest> {
    template <typename Archive, typename Struct>
    static void pass(Archive& archive, Struct& value) {
        archive(value.size);
    }
};
template <>
struct Fields<HoldToRequest> {
    template <typename Archive, typename Struct>
    static void pass(Archive& archive, Struct& value) {
        archive(value.key, value.known.use, value.known.answer, value.known.text, value.known.aad);
    }
};
template <>
struct Fields<WorkerOpening> {
    template <typename Archive, typename Struct>
    static void pass(Archive& archive, Struct& value) {
        archive(value.protocol, value.module, value.uri, value.init_string, value.max_sessions,
                value.session_patience_ms, value.softhsm_config, value.readback_program,
                value.pin_file, value.pin, value.log_level);
    }
};

template <>
struct Fields<Encrypted> {
    template <typename Archive, typename Struct>
    static void pass(Archive& archive, Struct& value) {
        archive(value.iv, value.ciphertext);
    }
};
template <>
struct Fields<ListedKeys> {
    template <typename Archive, typename Struct>
    static void pass(Archive& archive, Struct& value) {
        archive(value.ids, value.unnamed);
    }
};
template <>
struct Fields<TokenInfo> {
    template <typename Archive, typename Struct>
    static void pass(Archive& archive, Struct& value) {
        archive(value.label, value.serial, value.manufacturer, value.model, value.library,
                value.is_softhsm);
    }
};
template <>
struct Fields<PublicHalf> {
    template <typename Archive, typename Struct>
    static void pass(Archive& archive, Struct& value) {
        archive(value.token, value.private_object, value.local, value.verify, value.verify_recover,
                value.encrypt, value.wrap, value.derive, value.modifiable, value.copyable,
                value.destroyable);
    }
};
template <>
struct Fields<KeyAttributes> {
    template <typename Archive, typename Struct>
    static void pass(Archive& archive, Struct& value) {
        archive(value.label, value.kind, value.token, value.private_object, value.sensitive,
                value.extractable, value.always_sensitive, value.never_extractable, value.local,
                value.encrypt, value.decrypt, value.sign, value.sign_recover, value.verify,
                value.wrap, value.unwrap, value.derive, value.modifiable, value.copyable,
                value.destroyable, value.wrap_with_trusted, value.value_bytes, value.key_type,
                value.mechanism, value.check_value, value.public_half);
    }
};

}  // namespace hsm
