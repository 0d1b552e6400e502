#include "hsm/pkcs11_keys.h"

#include "hsm/pkcs11_profile.h"

namespace hsm {
namespace {

constexpr std::string_view proof_text = "strongroom key proof";

}  // namespace

Iv IvSource::draw(const Session& session) {
    std::array<Iv, 1> iv{};
    draw(session, iv);
    return iv.front();
}

void IvSource::draw(const Session& session, std::span<Iv> ivs) {
    static_assert(sizeof(Iv) == iv_bytes);
    if (ivs.empty()) return;
    session.random({ivs.front().data(), ivs.size() * iv_bytes});
    const std::lock_guard lock(mutex_);
    for (const Iv& iv : ivs) {
        if (iv == Iv{} || iv == last_) {
            throw base::Error(base::ErrorCode::internal, "the token's random generator is broken",
                              iv == Iv{} ? "it gave zeros" : "it gave the same IV twice in a row");
        }
        last_ = iv;
    }
}

std::unique_lock<std::mutex> KeyHandles::objects_lock() const {
    return serialise_ ? std::unique_lock(objects_) : std::unique_lock<std::mutex>();
}

std::optional<CK_OBJECT_HANDLE> KeyHandles::look_up(const Operation& operation,
                                                    const KeyId& id) const {
    const auto found = [&] {
        const auto lock = objects_lock();
        return operation.session().find(search_template(id), 2);
    }();
    if (found.empty()) {
        operation.session().require_login();
        return std::nullopt;
    }
    if (found.size() > 1) {
        throw base::Error(base::ErrorCode::internal, "the token holds more than one key of one id",
                          "CKA_ID " + id.to_string());
    }
    return found.front();
}

std::optional<KeyHandles::Entry> KeyHandles::cached(const KeyId& id) const {
    const std::lock_guard lock(mutex_);
    const auto entry = entries_.find(id);
    if (entry == entries_.end()) return std::nullopt;
    return entry->second;
}

std::optional<CK_OBJECT_HANDLE> KeyHandles::find(const Operation& operation, const KeyId& id) {
    {
        const std::lock_guard lock(mutex_);
        const auto entry = entries_.find(id);
        if (entry != entries_.end() && entry->second.generation == operation.generation)
            return entry->second.handle;
    }
    const auto handle = look_up(operation, id);
    if (!handle) {
        forget(id);
        return std::nullopt;
    }
    auto known = cached(id);
    Entry entry{*handle, operation.generation, operation.epoch, {}};
    if (known) {
        if (!holds(operation, *handle, known->proof)) {
            throw base::Error(base::ErrorCode::unavailable,
                              "the token gave another key back under the same id",
                              "CKA_ID " + id.to_string() + " does not open its known answer");
        }
        entry.proof = std::move(known->proof);
    } else {
        entry.proof = make_proof(operation, *handle);
    }
    const std::lock_guard lock(mutex_);
    entries_.insert_or_assign(id, std::move(entry));
    return handle;
}

bool KeyHandles::answers(const Operation& operation, const KeyId& id,
                         CK_OBJECT_HANDLE handle) const {
    const auto entry = cached(id);
    // Destroyed by another thread meanwhile: the next look will say so.
    if (!entry) throw to_error(CKR_KEY_HANDLE_INVALID, "a known answer");
    return holds(operation, handle, entry->proof);
}

void KeyHandles::forget(const KeyId& id) {
    const std::lock_guard lock(mutex_);
    entries_.erase(id);
}

KeyHandles::Proof KeyHandles::make_proof(const Operation& operation, CK_OBJECT_HANDLE key) {
    Proof proof;
    proof.iv = ivs_.draw(operation.session());
    proof.ciphertext = operation.session().encrypt(key, proof.iv, {}, base::as_bytes(proof_text));
    return proof;
}

bool KeyHandles::holds(const Operation& operation, CK_OBJECT_HANDLE key, const Proof& proof) {
    base::SecretBytes opened;
    const CK_RV code = operation.session().decrypt(key, proof.iv, {}, proof.ciphertext, opened);
    if (code != CKR_OK) {
        const ErrorClass error_class = classify(code);
        if (error_class != ErrorClass::caller_fault && error_class != ErrorClass::ambiguous)
            throw to_error(code, "C_Decrypt");
        operation.lease.renew();
        return false;
    }
    return opened.equals(base::as_bytes(proof_text));
}

}  // namespace hsm
