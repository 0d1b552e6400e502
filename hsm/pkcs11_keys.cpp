#include "hsm/pkcs11_keys.h"

#include <algorithm>
#include <chrono>

#include "hsm/pkcs11_kinds.h"
#include "hsm/public_key.h"

namespace hsm {
namespace {

constexpr std::size_t max_objects_of_one_id = 8;
// At a key whose known answer others replace meanwhile: it is proven anew, no handle is in doubt.
constexpr int most_proofs = 16;

[[noreturn]] void refuse_key(base::ErrorCode code, const std::string& why, const KeyId& id) {
    throw base::Error(code, why, "CKA_ID " + id.to_string());
}

bool is_of_kind(const Operation& operation, const KeyObjects& objects, KeyKind kind) {
    return read_kind(operation.session(), objects.key) == kind;
}

Pkcs11Error doubtful_objects(std::string_view why) {
    return {CKR_OBJECT_HANDLE_INVALID, why, ErrorClass::objects_doubtful};
}

Pkcs11Error replaced_answer() {
    return {CKR_OBJECT_HANDLE_INVALID, "a known answer that was replaced",
            ErrorClass::handles_stale};
}

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

void KeyHandles::require_all_seen() const {
    if (is_stale_ && is_stale_())
        throw doubtful_objects("another process made or destroyed objects");
}

std::unique_lock<std::mutex> KeyHandles::objects_lock() const {
    return serialise_ ? std::unique_lock(objects_) : std::unique_lock<std::mutex>();
}

// A module that mixed its handles up gives another key's: known answers tell that only of keys that
// were used before.
void KeyHandles::require_id(const Session& session, CK_OBJECT_HANDLE object,
                            const KeyId& id) const {
    const auto read = session.read_attribute(object, CKA_ID);
    if (read && base::to_bytes(id.bytes()) == *read) return;
    if (may_doubt(id)) throw doubtful_objects("a search gave an object of another id");
    refuse_key(base::ErrorCode::unavailable, "the token's search gives another key", id);
}

bool KeyHandles::may_doubt(const KeyId& id) const {
    const std::lock_guard lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    Doubt& doubt = doubted_[id];
    if (now < doubt.next) return false;
    doubt.next = now + doubt.pause;
    doubt.pause = std::min(2 * doubt.pause, max_doubt_pause);
    return true;
}

FoundObjects KeyHandles::sort_objects(const Operation& operation, const KeyId& id) const {
    const auto lock = objects_lock();
    FoundObjects found;
    // Without a login a search does not see private objects. Nothing found is believed only when
    // the login was seen before the search: another thread may have made it anew in between.
    for (const bool login_was_seen : {false, true}) {
        for (const CK_OBJECT_HANDLE object :
             operation.session().find(search_template(id), max_objects_of_one_id)) {
            require_id(operation.session(), object, id);
            const auto object_class = read_number(operation.session(), object, CKA_CLASS);
            if (object_class == CKO_SECRET_KEY) found.secret_keys.push_back(object);
            if (object_class == CKO_PRIVATE_KEY) found.private_keys.push_back(object);
            if (object_class == CKO_PUBLIC_KEY) found.public_keys.push_back(object);
        }
        if (!found.secret_keys.empty() || !found.private_keys.empty()) break;
        operation.session().require_login();
        if (!login_was_seen) found = {};
    }
    if (found.secret_keys.empty() && found.private_keys.empty()) require_all_seen();
    return found;
}

void KeyHandles::note_listing(const Operation& operation,
                              std::unordered_map<KeyId, FoundObjects> listing) {
    const std::lock_guard lock(mutex_);
    listed_ = std::move(listing);
    listed_generation_ = operation.generation;
}

std::optional<KeyObjects> KeyHandles::take_listed(const Operation& operation, const KeyId& id) {
    FoundObjects found;
    {
        const std::lock_guard lock(mutex_);
        const auto listed = listed_.find(id);
        if (listed == listed_.end()) return std::nullopt;
        found = std::move(listed->second);
        listed_.erase(listed);
        if (listed_generation_ != operation.generation) return std::nullopt;
    }
    return choose(found, id);
}

std::optional<KeyObjects> KeyHandles::look_up(const Operation& operation, const KeyId& id) const {
    return choose(sort_objects(operation, id), id);
}

std::optional<KeyObjects> KeyHandles::choose(const FoundObjects& found, const KeyId& id) {
    const std::size_t keys = found.secret_keys.size() + found.private_keys.size();
    if (keys == 0) return std::nullopt;
    const bool is_pair = !found.private_keys.empty();
    if (keys > 1 || (is_pair && found.public_keys.size() > 1)) {
        refuse_key(base::ErrorCode::internal, "the token holds more than one key of one id", id);
    }
    if (!is_pair) return KeyObjects{found.secret_keys.front(), CK_INVALID_HANDLE};
    return KeyObjects{found.private_keys.front(),
                      found.public_keys.empty() ? CK_INVALID_HANDLE : found.public_keys.front()};
}

std::vector<CK_OBJECT_HANDLE> KeyHandles::all_objects(const Operation& operation,
                                                      const KeyId& id) const {
    FoundObjects found = sort_objects(operation, id);
    std::vector<CK_OBJECT_HANDLE> all = std::move(found.secret_keys);
    all.insert(all.end(), found.private_keys.begin(), found.private_keys.end());
    all.insert(all.end(), found.public_keys.begin(), found.public_keys.end());
    return all;
}

std::optional<KeyHandles::Entry> KeyHandles::cached(const KeyId& id) const {
    const std::lock_guard lock(mutex_);
    const auto entry = entries_.find(id);
    if (entry == entries_.end()) return std::nullopt;
    return entry->second;
}

std::optional<KeyObjects> KeyHandles::search(const Operation& operation, const KeyId& id) {
    auto objects = take_listed(operation, id);
    if (!objects) objects = look_up(operation, id);
    if (objects) return objects;
    // What comes under this id later must still be the key that was there.
    const std::lock_guard lock(mutex_);
    const auto gone = entries_.find(id);
    if (gone != entries_.end()) gone->second.generation = gone->second.unproven_generation = 0;
    return std::nullopt;
}

std::optional<KnownKey> KeyHandles::find(const Operation& operation, const KeyId& id) {
    {
        const std::lock_guard lock(mutex_);
        const auto entry = entries_.find(id);
        if (entry != entries_.end() && entry->second.generation == operation.generation)
            return entry->second.known;
    }
    const auto objects = search(operation, id);
    if (!objects) return std::nullopt;
    for (int look = 0; look < most_proofs; ++look) {
        if (auto known = keep(operation, id, *objects, proven(operation, id, *objects)))
            return known;
    }
    throw replaced_answer();
}

// What the key is held to, and is.
KeyHandles::Entry KeyHandles::proven(const Operation& operation, const KeyId& id,
                                     const KeyObjects& objects) {
    auto entry = cached(id);
    if (!entry) {
        entry = introduce(operation, id, objects);
        // Only now: the known answer must not be another key's.
        require_id(operation.session(), objects.key, id);
        if (objects.public_half != CK_INVALID_HANDLE)
            require_id(operation.session(), objects.public_half, id);
        // A pair that is seen for the first time proves that its halves belong together.
        if (is_pair(entry->known.kind) && !holds(operation, objects.key, *entry))
            refuse_key(base::ErrorCode::internal, "the halves of a key pair don't fit", id);
    } else if (!proves(operation, id, objects, *entry)) {
        refuse_key(base::ErrorCode::unavailable,
                   "the token gave another key back under the same id", id);
    }
    return *std::move(entry);
}

std::optional<bool> KeyHandles::fits(const Operation& operation, const KeyId& id) {
    for (int look = 0; look < most_proofs; ++look) {
        const auto entry = cached(id);
        if (!entry) return std::nullopt;  // destroyed by another thread meanwhile
        // Where it was found before, if that still holds: a search takes longer.
        if (std::max(entry->generation, entry->unproven_generation) == operation.generation) {
            const KeyObjects seen{entry->known.handle, entry->public_half};
            if (is_of_kind(operation, seen, entry->known.kind) &&
                holds(operation, seen.key, *entry) && keep(operation, id, seen, *entry))
                return true;
        }
        const auto objects = search(operation, id);
        if (!objects) return std::nullopt;
        if (!proves(operation, id, *objects, *entry)) return false;
        if (keep(operation, id, *objects, *entry)) return true;
    }
    throw replaced_answer();
}

bool KeyHandles::proves(const Operation& operation, const KeyId& id, const KeyObjects& objects,
                        const Entry& entry) {
    if (is_of_kind(operation, objects, entry.known.kind) && holds(operation, objects.key, entry))
        return true;
    // Those that never were what they should be have one doubt together: there may be many.
    if (may_doubt(entry.has_fitted ? id : KeyId{}))
        throw doubtful_objects("a key does not fit to its known answer");
    return false;
}

// Empty when it was held to something else meanwhile: what was proven says nothing of that.
std::optional<KnownKey> KeyHandles::keep(const Operation& operation, const KeyId& id,
                                         const KeyObjects& objects, Entry entry) {
    entry.known.handle = objects.key;
    entry.public_half = objects.public_half;
    entry.generation = operation.generation;
    entry.has_fitted = true;
    const std::lock_guard lock(mutex_);
    doubted_.erase(id);
    const auto [kept, is_new] = entries_.try_emplace(id, entry);
    if (!is_new && kept->second.age != entry.age) return std::nullopt;
    if (!is_new) kept->second = std::move(entry);
    return kept->second.known;
}

void KeyHandles::hold_to(const KeyId& id, const KeyEvidence& known) {
    Entry entry = entry_of(id, known);
    // Not that of an answer which a key gives of itself: who finds the key for the first time at
    // this moment must not put his in the place of this one.
    entry.age = 1;
    const std::lock_guard lock(mutex_);
    const auto [kept, is_new] = entries_.try_emplace(id, entry);
    if (is_new) return;
    Entry& held = kept->second;
    if (held.has_same_answer(entry)) return;
    entry.age = held.age + 1;
    entry.known.handle = held.known.handle;
    entry.public_half = held.public_half;
    entry.unproven_generation = std::max(held.generation, held.unproven_generation);
    held = std::move(entry);
}

std::optional<KeyObjects> KeyHandles::in_use(const Operation& operation, const KeyId& id) const {
    const std::lock_guard lock(mutex_);
    const auto entry = entries_.find(id);
    if (entry == entries_.end() || entry->second.generation != operation.generation)
        return std::nullopt;
    return KeyObjects{entry->second.known.handle, entry->second.public_half};
}

bool KeyHandles::answers(const Operation& operation, const KeyId& id,
                         CK_OBJECT_HANDLE handle) const {
    const auto entry = cached(id);
    // Destroyed by another thread meanwhile: the next look will say so.
    if (!entry) throw to_error(CKR_KEY_HANDLE_INVALID, "a known answer");
    return holds(operation, handle, *entry);
}

void KeyHandles::forget(const KeyId& id) {
    const std::lock_guard lock(mutex_);
    entries_.erase(id);
    listed_.erase(id);
    doubted_.erase(id);
}

KeyHandles::Entry KeyHandles::entry_of(const KeyId& id, const KeyEvidence& known) {
    Entry entry;
    if (known.use != KeyUse::is_pair) {
        if (known.use == KeyUse::makes_macs) entry.known.kind = KeyKind::hmac_sha_256;
        entry.evidence = known;
        return entry;
    }
    const auto kind = kind_of_public_key(known.answer.ciphertext);
    if (!kind) refuse_key(base::ErrorCode::internal, "no public key of a kind that we know", id);
    entry.known.kind = *kind;
    entry.known.public_key = std::make_shared<const base::Bytes>(known.answer.ciphertext);
    return entry;
}

bool KeyHandles::Entry::has_same_answer(const Entry& other) const {
    if (known.kind != other.known.kind) return false;
    if (known.public_key) return *known.public_key == *other.known.public_key;
    return evidence == other.evidence;
}

KeyHandles::Entry KeyHandles::introduce(const Operation& operation, const KeyId& id,
                                        const KeyObjects& objects) {
    const Session& session = operation.session();
    const auto kind = read_kind(session, objects.key);
    if (!kind) refuse_key(base::ErrorCode::internal, "the token's key is of an unknown kind", id);
    Entry entry;
    entry.known.kind = *kind;
    KeyEvidence& made = entry.evidence;
    if (*kind == KeyKind::aes_256) {
        made.answer.iv = ivs_.draw(session);
        made.answer.ciphertext = session.encrypt(objects.key, made.answer.iv, made.aad, made.text);
    } else if (*kind == KeyKind::hmac_sha_256) {
        made.use = KeyUse::makes_macs;
        made.answer.ciphertext = sign(session, objects.key, *kind, made.text);
    } else {
        if (objects.public_half == CK_INVALID_HANDLE)
            refuse_key(base::ErrorCode::internal, "the token lost the public half of a key", id);
        entry.known.public_key = std::make_shared<const base::Bytes>(
            read_public_key(session, objects.public_half, *kind));
    }
    return entry;
}

bool KeyHandles::holds(const Operation& operation, CK_OBJECT_HANDLE key, const Entry& entry) {
    const auto& [use, known, text, aad] = entry.evidence;
    const KeyKind kind = entry.known.kind;
    try {
        if (kind == KeyKind::aes_256) {
            base::SecretBytes opened;
            check_call(operation.session().decrypt(key, known.iv, aad, known.ciphertext, opened),
                       "C_Decrypt");
            return opened.equals(text);
        }
        const base::Bytes answer = sign(operation.session(), key, kind, text);
        if (!is_pair(kind)) return base::equal_constant_time(answer, known.ciphertext);
        return verify_signature(kind, *entry.known.public_key, text, answer);
    } catch (const Pkcs11Error& error) {
        if (error.error_class() != ErrorClass::caller_fault &&
            error.error_class() != ErrorClass::ambiguous)
            throw;
        operation.lease.renew();
        return false;
    }
}

}  // namespace hsm
