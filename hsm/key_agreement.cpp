#include "hsm/key_agreement.h"

#include <algorithm>
#include <mutex>
#include <utility>

namespace hsm {
Standing KeyAgreement::standing(const KeyId& key, std::size_t member) const {
    const std::shared_lock lock(mutex_);
    const auto found = entries_.find(key);
    if (found == entries_.end()) return Standing::unknown;
    const Place& place = found->second.places[member];
    const bool is_of_now = place.generation == members_.generation(member);
    return is_of_now ? place.standing : Standing::unknown;
}

bool KeyAgreement::take_look(const KeyId& key, std::size_t member) {
    const std::unique_lock lock(mutex_);
    return take_look(place(key, member), member);
}

// Under the lock.
bool KeyAgreement::take_look(Place& looked_at, std::size_t member) const {
    const Instant now = std::chrono::steady_clock::now();
    const bool is_of_now = looked_at.generation == members_.generation(member);
    if (is_of_now && looked_at.standing == Standing::proven) return false;
    if (is_of_now && now < looked_at.next_look) return false;
    looked_at.generation = members_.generation(member);
    if (!is_of_now) {
        // What it had for another key is told until it has been looked at.
        if (looked_at.standing != Standing::different) looked_at.standing = Standing::unknown;
        looked_at.pause = {};
    }
    looked_at.pause =
        std::min(std::max(looked_at.pause * 2, pauses_.first_look), pauses_.longest_look);
    looked_at.next_look = now + looked_at.pause;
    return true;
}

std::vector<std::pair<KeyId, KeyUse>> KeyAgreement::take_looks(std::size_t member,
                                                               std::size_t most) {
    std::vector<std::pair<KeyId, KeyUse>> due;
    const std::unique_lock lock(mutex_);
    for (auto& [key, entry] : entries_) {
        if (due.size() == most) break;
        Place& looked_at = entry.places[member];
        if (looked_at.standing != Standing::different || !entry.proof) continue;
        if (take_look(looked_at, member)) due.emplace_back(key, entry.proof->use);
    }
    return due;
}

Standing KeyAgreement::prove(const KeyId& key, KeyUse use, std::size_t member, Token& token) {
    if (find_proof(key)) return prove_again(key, member, token);
    const std::uint64_t generation = members_.generation(member);
    try {
        const KeyEvidence made = make_proof(key, use, token);
        if (keep_proof(key, made)) {
            if (const auto noted = note(key, member, Standing::proven, generation, &made))
                return *noted;
        }
    } catch (const base::Error& error) {
        if (error.code() == base::ErrorCode::not_found) return note_absent(key, member, generation);
        // It is of no such use, and nobody has shown yet that it is of any.
        if (error.code() == base::ErrorCode::internal) return Standing::unknown;
        throw;
    }
    return prove_again(key, member, token);
}

Standing KeyAgreement::prove_again(const KeyId& key, std::size_t member, Token& token) {
    const std::uint64_t generation = members_.generation(member);
    try {
        // Once more when the members are held to something else meanwhile: the token is, too.
        while (const auto known = find_proof(key)) {
            const Standing judged = judge(key, *known, token);
            if (const auto noted = note(key, member, judged, generation, &*known)) return *noted;
        }
        return Standing::unknown;
    } catch (const base::Error& error) {
        if (error.code() != base::ErrorCode::not_found) throw;
        return note_absent(key, member, generation);
    }
}

void KeyAgreement::note_absent(const KeyId& key, std::size_t member) {
    note_absent(key, member, members_.generation(member));
}

Standing KeyAgreement::note_absent(const KeyId& key, std::size_t member, std::uint64_t generation) {
    note(key, member, Standing::absent, generation, nullptr);
    return Standing::absent;
}

void KeyAgreement::note_trouble(const KeyId& key, std::size_t member) {
    const std::unique_lock lock(mutex_);
    Place& troubled = place(key, member);
    if (troubled.standing != Standing::proven) return;
    troubled.standing = Standing::unknown;
    troubled.next_look = std::chrono::steady_clock::now() + pauses_.first_look;
}

void KeyAgreement::hold_to(const KeyId& key, const KeyEvidence& known) {
    bool was_different = false;
    {
        const std::unique_lock lock(mutex_);
        static_cast<void>(place(key, 0));
        Entry& entry = entries_[key];
        if (entry.proof == known) return;
        entry.proof = known;
        for (Place& held : entry.places) {
            const Standing before = std::exchange(held.standing, Standing::unknown);
            was_different = was_different || before == Standing::different;
        }
    }
    if (was_different && changed_) changed_();
}

void KeyAgreement::forget(const KeyId& key) {
    const std::unique_lock lock(mutex_);
    entries_.erase(key);
}

std::size_t KeyAgreement::different_keys(std::size_t member) const {
    const std::shared_lock lock(mutex_);
    return static_cast<std::size_t>(
        std::count_if(entries_.begin(), entries_.end(), [member](const auto& entry) {
            return entry.second.places[member].standing == Standing::different;
        }));
}

KeyEvidence KeyAgreement::make_proof(const KeyId& key, KeyUse use, Token& token) {
    const base::ByteView text = base::as_bytes(key_evidence_text);
    switch (use) {
        case KeyUse::encrypts:
            return {use, token.encrypt(key, {}, text)};
        case KeyUse::makes_macs:
            return {use, {{}, token.mac(key, text)}};
        case KeyUse::is_pair:
            break;
    }
    return {use, {{}, token.public_key(key)}};
}

// One that is spoilt in this token is another key.
Standing KeyAgreement::judge(const KeyId& key, const KeyEvidence& proof, Token& token) {
    try {
        return token.hold_to(key, proof) ? Standing::proven : Standing::different;
    } catch (const base::Error& error) {
        if (error.code() != base::ErrorCode::internal) throw;
        return Standing::different;
    }
}

std::optional<KeyEvidence> KeyAgreement::find_proof(const KeyId& key) const {
    const std::shared_lock lock(mutex_);
    const auto found = entries_.find(key);
    return found == entries_.end() ? std::nullopt : found->second.proof;
}

bool KeyAgreement::keep_proof(const KeyId& key, const KeyEvidence& made) {
    const std::unique_lock lock(mutex_);
    static_cast<void>(place(key, 0));
    auto& kept = entries_[key].proof;
    if (kept) return false;
    kept = made;
    return true;
}

std::optional<Standing> KeyAgreement::note(const KeyId& key, std::size_t member, Standing standing,
                                           std::uint64_t generation, const KeyEvidence* judged_by) {
    Standing before = Standing::unknown;
    {
        const std::unique_lock lock(mutex_);
        Place& noted = place(key, member);
        if (judged_by != nullptr && entries_[key].proof != *judged_by) return std::nullopt;
        before = std::exchange(noted.standing, standing);
        noted.generation = generation;
        if (standing == Standing::proven) noted.pause = {};
        if (standing != Standing::proven && noted.pause.count() == 0) {
            noted.pause = pauses_.first_look;
            noted.next_look = std::chrono::steady_clock::now() + noted.pause;
        }
    }
    const bool is_different = standing == Standing::different;
    if ((before == Standing::different) == is_different) return standing;
    if (is_different) {
        log_.error("a token of several has another key under an id: it is not used for that key",
                   {{"token", members_.name(member)}, {"token_key_id", key.to_string()}});
    } else {
        log_.info("a token of several has no other key under an id any more",
                  {{"token", members_.name(member)}, {"token_key_id", key.to_string()}});
    }
    if (changed_) changed_();
    return standing;
}

// Under the lock.
KeyAgreement::Place& KeyAgreement::place(const KeyId& key, std::size_t member) {
    Entry& entry = entries_[key];
    entry.places.resize(members_.size());
    return entry.places[member];
}

}  // namespace hsm
