// One session with the token and the calls that we make on it, each checked. No policy and no
// recovery here: every failure is thrown as Pkcs11Error, and whoever holds the session then throws
// it away.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/secret_bytes.h"
#include "hsm/pkcs11_attributes.h"
#include "hsm/pkcs11_module.h"
#include "hsm/token.h"

namespace hsm {

// A read-write session. Never logs in or out in its destructor: login belongs to the token, not to
// a session. Move-only, one thread at a time.
class Session {
public:
    Session(std::shared_ptr<Module> module, CK_SLOT_ID slot);
    ~Session();
    Session(Session&& other) noexcept;
    Session& operator=(Session&& other) noexcept;
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    CK_SESSION_INFO info() const;
    // Throws CKR_USER_NOT_LOGGED_IN unless this session sees private objects. A find answers
    // "nothing there" without a login, so an absence counts only together with this.
    void require_login() const;
    // CKR_OK or the module's answer; the caller decides what it means.
    CK_RV log_in(base::ByteView pin) const;

    // At most `max` objects that match.
    std::vector<CK_OBJECT_HANDLE> find(const AttributeTemplate& what, std::size_t max) const;
    CK_OBJECT_HANDLE generate_key(CK_MECHANISM_TYPE type,
                                  const AttributeTemplate& attributes) const;
    void generate_pair(CK_MECHANISM_TYPE type, const AttributeTemplate& public_half,
                       const AttributeTemplate& private_half) const;
    CK_OBJECT_HANDLE create_object(const AttributeTemplate& attributes) const;
    void destroy_object(CK_OBJECT_HANDLE object) const;
    // One attribute by itself: one that the module does not know would spoil a batch. Empty when it
    // is unknown, sensitive or has no value. Throws unavailable for a length that none has.
    std::optional<base::Bytes> read_attribute(CK_OBJECT_HANDLE object,
                                              CK_ATTRIBUTE_TYPE type) const;

    void random(std::span<std::uint8_t> out) const;

    // AES-GCM with a 96-bit IV and a 128-bit tag, nothing else (NIST SP 800-38D 5.2.1.1).
    base::Bytes encrypt(CK_OBJECT_HANDLE key, const Iv& iv, base::ByteView aad,
                        base::ByteView plaintext) const;
    // CKR_OK and the plaintext, or the module's answer: what it means on a decrypt is not decided
    // here.
    CK_RV decrypt(CK_OBJECT_HANDLE key, const Iv& iv, base::ByteView aad, base::ByteView ciphertext,
                  base::SecretBytes& plaintext) const;

    // A signature or a MAC of `data`, which has `size` bytes: any other answer throws internal.
    base::Bytes sign(CK_MECHANISM mechanism, CK_OBJECT_HANDLE key, base::ByteView data,
                     std::size_t size) const;

private:
    void close() noexcept;

    std::shared_ptr<Module> module_;
    std::uint64_t epoch_ = 0;
    CK_SESSION_HANDLE handle_ = CK_INVALID_HANDLE;
};

}  // namespace hsm
