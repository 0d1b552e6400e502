// From a key's id to its object handle: looked up once, proven, cached until its generation ends.
#pragma once

#include <mutex>
#include <optional>
#include <unordered_map>

#include "hsm/pkcs11_connection.h"

namespace hsm {

// A fresh IV from the token's generator. Throws internal when the generator gives zeros or the same
// twice in a row. Safe to share between threads.
class IvSource {
public:
    Iv draw(const Session& session);
    // As many as `ivs` has room for, in one call to the generator.
    void draw(const Session& session, std::span<Iv> ivs);

private:
    std::mutex mutex_;
    Iv last_{};
};

// Safe to share between threads.
//
// After a re-initialisation a handle may point to another key. So each key, when first looked up,
// encrypts a known answer (one encryption in a key's count), and a handle that is found in a later
// epoch of the module must decrypt it before it is used.
class KeyHandles {
public:
    // `serialise` is for SoftHSM, which fails when objects are made and searched for at the same
    // time.
    KeyHandles(IvSource& ivs, bool serialise) : ivs_(ivs), serialise_(serialise) {}

    // The handle of the one key of that id; empty when there is none. Throws internal when there
    // are several, and unavailable when the key does not prove to be the one that it was.
    std::optional<CK_OBJECT_HANDLE> find(const Operation& operation, const KeyId& id);
    // Looks in the token itself, past the cache.
    std::optional<CK_OBJECT_HANDLE> look_up(const Operation& operation, const KeyId& id) const;
    // True when the key behind `handle`, which find() gave, still answers as it did: the way to
    // tell a bad ciphertext from a broken token. Throws Pkcs11Error for trouble that has a name.
    bool answers(const Operation& operation, const KeyId& id, CK_OBJECT_HANDLE handle) const;
    void forget(const KeyId& id);

    // Held around create, find and destroy where the module needs it.
    std::unique_lock<std::mutex> objects_lock() const;

private:
    struct Proof {
        Iv iv{};
        base::Bytes ciphertext;
    };
    struct Entry {
        CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
        std::uint64_t generation = 0;
        std::uint64_t epoch = 0;
        Proof proof;
    };

    Proof make_proof(const Operation& operation, CK_OBJECT_HANDLE key);
    // False when the proof does not open; throws Pkcs11Error when the session, the login, the
    // handle or the token is in trouble, since that says nothing of the key.
    static bool holds(const Operation& operation, CK_OBJECT_HANDLE key, const Proof& proof);
    std::optional<Entry> cached(const KeyId& id) const;

    IvSource& ivs_;
    bool serialise_;
    mutable std::mutex objects_;
    mutable std::mutex mutex_;
    std::unordered_map<KeyId, Entry> entries_;
};

}  // namespace hsm
