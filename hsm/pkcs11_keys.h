// From a key's id to its object handles: looked up once, proven, cached until their generation
// ends.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "hsm/pkcs11_connection.h"
#include "hsm/pkcs11_profile.h"

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

// A key that has proven itself in this generation.
struct KnownKey {
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;  // of the secret or the private key
    KeyKind kind = KeyKind::aes_256;
    // SubjectPublicKeyInfo of a pair, else null. Never changes while this process knows the key.
    std::shared_ptr<const base::Bytes> public_key;
};

// The objects of one id, by class.
struct FoundObjects {
    std::vector<CK_OBJECT_HANDLE> secret_keys, private_keys, public_keys;
};

// Safe to share between threads.
//
// After a re-initialisation a handle may point to another key. So each key, when first looked up,
// leaves a known answer: an AES key encrypts one (one encryption in its count), an HMAC key makes a
// MAC, of a pair it is the public key. A handle that is found in a later generation must fit to it
// before it is used. A pair must do so at its first use already: sign what its public half
// verifies. Who knows an answer from elsewhere sets it (hold_to); then that is what each handle
// must fit to.
class KeyHandles {
public:
    // `serialise` is for SoftHSM, which fails when objects are made and searched for at the same
    // time.
    // `is_stale` says whether the module may not see all objects any more.
    KeyHandles(IvSource& ivs, bool serialise, std::function<bool()> is_stale = {})
        : ivs_(ivs), serialise_(serialise), is_stale_(std::move(is_stale)) {}

    // Throws what has the connection made anew when the module may not see all objects any more.
    void require_all_seen() const;

    // The one key of that id; empty when there is none. Throws internal when there are several,
    // when it is of no kind that we know, or half of a pair is missing; and unavailable when the
    // key does not prove to be the one that it was, for which the module is initialised anew first.
    std::optional<KnownKey> find(const Operation& operation, const KeyId& id);

    // Where the objects of a key are that find() has given in this generation; empty when it has
    // not. Not searched for: a search takes longer the more objects the token has.
    std::optional<KeyObjects> in_use(const Operation& operation, const KeyId& id) const;

    // Remembers where a listing has just seen key objects, so that looking up each of many keys for
    // the first time needs no search of its own: a search takes longer the more objects there are.
    // Each is used once, and only in the generation of `operation`.
    void note_listing(const Operation& operation, std::unordered_map<KeyId, FoundObjects> listing);

    // From now on only a key that fits to `known` is given under this id, in no generation another.
    // Throws internal for an answer that no key gives.
    void hold_to(const KeyId& id, const KeyEvidence& known);
    // Whether the key of that id is the one that it is held to; empty when there is none. As
    // find(), but that a key is another one is no trouble.
    std::optional<bool> fits(const Operation& operation, const KeyId& id);

    // The next two look in the token itself, past the cache. Half a pair that is only public is no
    // key.
    std::optional<KeyObjects> look_up(const Operation& operation, const KeyId& id) const;
    // Every key object of that id, what is secret first.
    std::vector<CK_OBJECT_HANDLE> all_objects(const Operation& operation, const KeyId& id) const;

    // True when the key behind `handle`, which find() gave, still answers as it did: the way to
    // tell a bad ciphertext from a broken token. Throws Pkcs11Error for trouble that has a name.
    bool answers(const Operation& operation, const KeyId& id, CK_OBJECT_HANDLE handle) const;
    // That `object` is of that id. Asked of a handle that has just encrypted or made a MAC it says
    // that what was made is the key's own: whoever opens it may do so with the same wrong handle
    // and see nothing. Throws as find() does for a key that isn't the one it was.
    void require_id(const Session& session, CK_OBJECT_HANDLE object, const KeyId& id) const;
    void forget(const KeyId& id);

    // Held around create, find and destroy where the module needs it.
    std::unique_lock<std::mutex> objects_lock() const;

private:
    struct Entry {
        KnownKey known;
        CK_OBJECT_HANDLE public_half = CK_INVALID_HANDLE;  // of a pair, where there is one
        std::uint64_t generation = 0;
        // In which the handles were found, when they have not proven themselves in it.
        std::uint64_t unproven_generation = 0;
        bool has_fitted = false;  // at any time
        std::uint64_t age = 0;    // another one for each known answer
        // The known answer, when it isn't the public key, as KeyEvidence has it.
        KeyEvidence evidence;

        bool has_same_answer(const Entry& other) const;
    };
    struct Doubt {
        std::chrono::steady_clock::time_point next;
        std::chrono::seconds pause{1};
    };
    static constexpr std::chrono::seconds max_doubt_pause{60};

    // Whether the module may be initialised anew on this key's account: handles that were mixed up
    // are good then, and objects that were exchanged are seen. Less and less often: the key may be
    // another one for good.
    bool may_doubt(const KeyId& id) const;
    static std::optional<KeyObjects> choose(const FoundObjects& found, const KeyId& id);
    std::optional<KeyObjects> take_listed(const Operation& operation, const KeyId& id);
    FoundObjects sort_objects(const Operation& operation, const KeyId& id) const;
    Entry introduce(const Operation& operation, const KeyId& id, const KeyObjects& objects);
    // False when the key does not fit to its known answer; throws Pkcs11Error when the session, the
    // login, the handle or the token is in trouble, since that says nothing of the key.
    static bool holds(const Operation& operation, CK_OBJECT_HANDLE key, const Entry& entry);
    static Entry entry_of(const KeyId& id, const KeyEvidence& known);
    std::optional<Entry> cached(const KeyId& id) const;
    std::optional<KeyObjects> search(const Operation& operation, const KeyId& id);
    // As holds(), for objects that were looked for in this generation; has the module initialised
    // anew now and then when they don't.
    bool proves(const Operation& operation, const KeyId& id, const KeyObjects& objects,
                const Entry& entry);
    Entry proven(const Operation& operation, const KeyId& id, const KeyObjects& objects);
    std::optional<KnownKey> keep(const Operation& operation, const KeyId& id,
                                 const KeyObjects& objects, Entry entry);

    IvSource& ivs_;
    bool serialise_;
    std::function<bool()> is_stale_;
    mutable std::mutex objects_;
    mutable std::mutex mutex_;
    std::unordered_map<KeyId, Entry> entries_;
    mutable std::unordered_map<KeyId, Doubt> doubted_;
    std::unordered_map<KeyId, FoundObjects> listed_;
    std::uint64_t listed_generation_ = 0;
};

}  // namespace hsm
