#include "hsm/pkcs11_token.h"

#include <chrono>
#include <thread>
#include <unordered_map>

#include "hsm/pkcs11_kinds.h"
#include "hsm/pkcs11_self_test.h"

namespace hsm {
namespace {

constexpr std::size_t max_label_bytes = 64;
constexpr std::size_t max_listed_objects = 100'000;
constexpr std::size_t readback_challenge_bytes = 32;
constexpr int most_looks = 4;
constexpr std::chrono::milliseconds pause_between_looks{20};
constexpr std::size_t small_batch = 16;  // too quick to wait for a large one

[[noreturn]] void fail(base::ErrorCode code, const std::string& message,
                       const std::string& detail = {}) {
    throw base::Error(code, message, detail);
}

[[noreturn]] void no_such_key(const KeyId& id) {
    fail(base::ErrorCode::not_found, "the token has no such key", "CKA_ID " + id.to_string());
}

TokenInfo describe(const Module& module, const CK_TOKEN_INFO& token, bool is_softhsm) {
    TokenInfo info;
    info.label = trim_padding(token.label);
    info.serial = trim_padding(token.serialNumber);
    info.manufacturer = trim_padding(token.manufacturerID);
    info.model = trim_padding(token.model);
    info.library = module.description();
    info.is_softhsm = is_softhsm;
    return info;
}

// Says what became of the token's objects while it lived: what was changed then was changed by us.
class NotedObjects {
public:
    explicit NotedObjects(SoftHsmGuard* guard) : guard_(guard) {}
    ~NotedObjects() {
        if (guard_ != nullptr) guard_->note_changes(changes_);
    }
    NotedObjects(const NotedObjects&) = delete;
    NotedObjects& operator=(const NotedObjects&) = delete;

    // So many objects were made or destroyed, for certain.
    void done(std::uint64_t changes) { changes_ = changes; }
    // The module may have lost sight of its token.
    void doubt() { changes_.reset(); }

private:
    SoftHsmGuard* guard_;
    std::optional<std::uint64_t> changes_ = 0;
};

}  // namespace

Pkcs11Token::Pkcs11Token(std::shared_ptr<Module> module, const TokenConfig& config,
                         const base::SecretBytes& pin, std::unique_ptr<SoftHsmGuard> guard,
                         Purpose purpose, base::Log& log)
    : pin_(pin),
      log_(log),
      module_(std::move(module)),
      traits_(traits_of(*module_)),
      guard_(std::move(guard)),
      turn_patience_(config.turn_patience),
      keys_(ivs_, traits_.is_softhsm, [this] { return guard_ && guard_->were_objects_changed(); }) {
    TokenUri uri(config.uri);
    const FoundToken found = find_at_start(uri);
    info_ = describe(*module_, found.info, traits_.is_softhsm);
    const auto note_objects = [this] {
        if (guard_) guard_->note_objects();
    };
    if (guard_) guard_->before_login(info_.label, info_.serial);
    note_objects();
    try {
        connection_ = std::make_unique<Connection>(
            module_, std::move(uri), found, pin_, log_,
            ConnectionOptions{config.max_sessions, config.session_patience, config.recovery,
                              note_objects, config.logged_in_again, config.beyond_repair});
    } catch (const base::Error& error) {
        const std::string hint = guard_ ? guard_->refused_pin_hint() : std::string();
        if (hint.empty() || error.code() != base::ErrorCode::failed_precondition) throw;
        fail(error.code(), error.message() + ". " + hint, error.detail());
    }
    if (guard_) guard_->after_login();
    if (purpose == Purpose::serve) self_test(*module_, found.slot, *connection_);
}

FoundToken Pkcs11Token::find_at_start(const TokenUri& uri) {
    for (int looks = 1;; ++looks) {
        try {
            return find_token(*module_, uri, guard_ ? guard_->hint() : std::string());
        } catch (const base::Error&) {
            // Nobody else's handles may be lost by it: a token beside this one shares the module.
            if (!traits_.is_softhsm || looks == most_looks || module_.use_count() > 1) throw;
        }
        // A process that logs in as root writes token.object in place: whoever initialises the
        // module at that moment sees no token.
        std::this_thread::sleep_for(pause_between_looks);
        module_->reinitialise();
    }
}

KeyAttributes Pkcs11Token::generate_key(const KeyId& id, std::string_view label, KeyKind kind,
                                        KeyProfile profile) {
    if (label.size() > max_label_bytes)
        fail(base::ErrorCode::invalid_argument, "a key's label has at most 64 bytes");
    if (kind != KeyKind::aes_256 && profile != KeyProfile::sealed)
        fail(base::ErrorCode::invalid_argument, "a key that signs or makes MACs must be sealed");
    if (kind != KeyKind::aes_256 && supported_kinds().count(kind) == 0)
        base::refuse("the token has no keys of kind " + std::string(to_string(kind)));
    const auto one_at_a_time =
        guard_ ? std::unique_lock(generation_) : std::unique_lock<std::mutex>();
    // Also the moment in which a broken connection heals: the making itself has one attempt only.
    if (holds_any(id)) {
        fail(base::ErrorCode::already_exists, "the token has a key of that id",
             "CKA_ID " + id.to_string());
    }
    {
        // Nobody else makes or destroys any now (Token), so what changes is ours.
        NotedObjects noted(guard_.get());
        try {
            make_objects(id, label, kind, profile);
        } catch (const Pkcs11Error& error) {
            // What SoftHSM says when it finds its own token unwritable; a full disk is another.
            if (error.rv() == CKR_GENERAL_ERROR) noted.doubt();
            throw;
        }
        noted.done(is_pair(kind) ? 2 : 1);
    }
    KeyAttributes attributes = read_new_key(id);
    refuse_unless_as_ordered(id, attributes, kind, profile);
    try {
        make_durable(id);
    } catch (const base::Error& error) {
        // That there is no such key yet is no answer to who orders one.
        fail(base::ErrorCode::unavailable, error.message(), error.detail());
    }
    return attributes;
}

void Pkcs11Token::make_objects(const KeyId& id, std::string_view label, KeyKind kind,
                               KeyProfile profile) {
    const CK_MECHANISM_TYPE mechanism = traits_of(kind).generation;
    connection_->once([&](const Operation& operation) {
        const auto lock = keys_.objects_lock();
        if (is_pair(kind)) {
            const PairTemplates pair = pair_templates(id, label, kind, traits_);
            operation.session().generate_pair(mechanism, pair.public_half, pair.private_half);
        } else {
            operation.session().generate_key(
                mechanism, secret_key_template(id, label, kind, profile, traits_));
        }
    });
    connection_->note_written();
}

KeyAttributes Pkcs11Token::read_new_key(const KeyId& id) {
    return connection_->repeatable([&](const Operation& operation) {
        const auto objects = keys_.look_up(operation, id);
        if (!objects)
            fail(base::ErrorCode::internal, "the token lost the key that it just made",
                 "CKA_ID " + id.to_string());
        KeyAttributes read = read_attributes(operation.session(), *objects, traits_);
        for (const CK_ATTRIBUTE_TYPE secret : {CKA_VALUE, CKA_PRIVATE_EXPONENT, CKA_PRIME_1}) {
            if (operation.session().read_attribute(objects->key, secret)) read.sensitive = false;
        }
        return read;
    });
}

void Pkcs11Token::refuse_unless_as_ordered(const KeyId& id, const KeyAttributes& attributes,
                                           KeyKind kind, KeyProfile profile) {
    const auto wrong = differences_from_profile(attributes, profile, kind);
    if (wrong.empty()) return;
    std::string list;
    for (const auto& each : wrong) list += (list.empty() ? "" : ", ") + each;
    log_.error(
        "the token made a key that is not as ordered; it is destroyed, since it was never used",
        {{"key", id.to_string()}, {"wrong", list}});
    try {
        destroy_key(id);
    } catch (const base::Error& error) {
        log_.error("the key could not be destroyed",
                   {{"key", id.to_string()}, {"error", error.what()}});
    }
    fail(base::ErrorCode::internal, "the token made a key that is not as ordered", list);
}

bool Pkcs11Token::holds_any(const KeyId& id) {
    return connection_->repeatable(
        [&](const Operation& operation) { return !keys_.all_objects(operation, id).empty(); });
}

ReadbackQuestion Pkcs11Token::readback_question(const KeyId& id) {
    base::Bytes challenge(readback_challenge_bytes);
    random(challenge);
    return connection_->repeatable([&](const Operation& operation) {
        const KnownKey key = require_key(operation, id);
        ReadbackQuestion question{id, key.kind, {}, challenge, {}};
        if (key.kind == KeyKind::aes_256) {
            question.iv = ivs_.draw(operation.session());
            question.input = operation.session().encrypt(key.handle, question.iv, {}, challenge);
            question.expected = challenge;
        } else if (key.kind == KeyKind::hmac_sha_256) {
            question.expected = hsm::sign(operation.session(), key.handle, key.kind, challenge);
        } else {
            question.expected = *key.public_key;
        }
        return question;
    });
}

void Pkcs11Token::make_durable(const KeyId& id) {
    if (!guard_) return;
    const ReadbackQuestion question = readback_question(id);
    // Two processes that use token objects at once disturb each other too.
    const auto lock = keys_.objects_lock();
    guard_->make_durable(pin_.reveal(), question);
}

std::optional<KeyAttributes> Pkcs11Token::find_key(const KeyId& id) {
    return connection_->repeatable([&](const Operation& operation) -> std::optional<KeyAttributes> {
        auto objects = keys_.in_use(operation, id);
        if (!objects) objects = keys_.look_up(operation, id);
        if (!objects) return std::nullopt;
        return read_attributes(operation.session(), *objects, traits_);
    });
}

std::vector<KeyId> Pkcs11Token::list_keys(std::size_t* unnamed_objects) {
    return connection_->repeatable([&](const Operation& operation) {
        std::size_t unnamed = 0;
        std::unordered_map<KeyId, FoundObjects> found;  // both halves of a pair have one id
        keys_.require_all_seen();
        const auto lock = keys_.objects_lock();
        operation.session().require_login();
        for (const auto& [kind, objects] :
             {std::pair{CKO_SECRET_KEY, &FoundObjects::secret_keys},
              std::pair{CKO_PRIVATE_KEY, &FoundObjects::private_keys},
              std::pair{CKO_PUBLIC_KEY, &FoundObjects::public_keys}}) {
            for (const CK_OBJECT_HANDLE key :
                 operation.session().find(search_template(kind), max_listed_objects)) {
                const auto id = operation.session().read_attribute(key, CKA_ID);
                if (id && id->size() == KeyId::size) {
                    (found[KeyId::from_bytes(*id)].*objects).push_back(key);
                } else {
                    ++unnamed;
                }
            }
        }
        if (unnamed_objects != nullptr) *unnamed_objects = unnamed;
        std::vector<KeyId> ids;
        ids.reserve(found.size());
        for (const auto& [id, objects] : found) ids.push_back(id);
        keys_.note_listing(operation, std::move(found));
        return ids;
    });
}

void Pkcs11Token::destroy_key(const KeyId& id) {
    connection_->repeatable([&](const Operation& operation) {
        keys_.require_all_seen();
        static_cast<void>(keys_.look_up(operation, id));  // refuses when there are several
        const auto objects = keys_.all_objects(operation, id);
        if (objects.empty()) no_such_key(id);
        const auto lock = keys_.objects_lock();
        NotedObjects noted(guard_.get());
        for (const CK_OBJECT_HANDLE object : objects) operation.session().destroy_object(object);
        noted.done(objects.size());
    });
    keys_.forget(id);
    if (holds_any(id)) {
        fail(base::ErrorCode::internal, "the token still has the key that it destroyed",
             "CKA_ID " + id.to_string());
    }
    if (guard_) guard_->sync();
}

bool Pkcs11Token::hold_to(const KeyId& id, const KeyEvidence& known) {
    keys_.hold_to(id, known);
    return connection_->repeatable([&](const Operation& operation) {
        const auto fits = keys_.fits(operation, id);
        if (!fits) no_such_key(id);
        return *fits;
    });
}

KnownKey Pkcs11Token::require_key(const Operation& operation, const KeyId& id) {
    auto key = keys_.find(operation, id);
    if (!key) no_such_key(id);
    return std::move(*key);
}

KnownKey Pkcs11Token::require_key(const Operation& operation, const KeyId& id, KeyKind kind) {
    KnownKey key = require_key(operation, id);
    if (key.kind != kind) {
        fail(base::ErrorCode::internal, "the token's key is of another kind than was asked for",
             "CKA_ID " + id.to_string() + " is " + std::string(to_string(key.kind)) + ", not " +
                 std::string(to_string(kind)));
    }
    return key;
}

Encrypted Pkcs11Token::encrypt(const KeyId& id, base::ByteView aad, base::ByteView plaintext) {
    return connection_->repeatable([&](const Operation& operation) {
        const KnownKey key = require_key(operation, id, KeyKind::aes_256);
        Encrypted encrypted;
        encrypted.iv = ivs_.draw(operation.session());
        encrypted.ciphertext =
            operation.session().encrypt(key.handle, encrypted.iv, aad, plaintext);
        keys_.require_id(operation.session(), key.handle, id);
        return encrypted;
    });
}

// Behind SoftHSM's locks two threads get no more done than one, and waiting for each other at every
// item costs them most of a processor. The turn is a courtesy: behind one that hangs nobody stays.
BatchTurns::Turn Pkcs11Token::turn_of_batch(std::size_t items) {
    if (!traits_.is_softhsm || items <= small_batch) return nullptr;
    return batches_.take(turn_patience_);
}

std::vector<std::optional<Encrypted>> Pkcs11Token::encrypt_many(
    std::span<const EncryptItem> items) {
    const auto turn = turn_of_batch(items.size());
    std::vector<std::optional<Encrypted>> made;
    made.reserve(items.size());
    // A repetition goes on behind the last that was made: callers have counted each item once.
    connection_->repeatable([&](const Operation& operation) {
        const std::size_t before = made.size();
        std::unordered_map<KeyId, CK_OBJECT_HANDLE> used;
        const auto require_ids = [&] {
            for (const auto& [id, handle] : used) keys_.require_id(operation.session(), handle, id);
        };
        // Unless the ids say so, nobody knows by which keys they were made.
        const auto forget_unproven = [&](const auto& prove) {
            try {
                prove();
            } catch (const base::Error&) {
                made.resize(before);
                throw;
            }
        };
        try {
            encrypt_rest(operation, items, made, used);
        } catch (const base::Error&) {
            if (!operation.lease.has_session()) {
                made.resize(before);
                throw;
            }
            forget_unproven([&] {
                operation.lease.renew();
                require_ids();
            });
            throw;
        }
        forget_unproven(require_ids);
    });
    return made;
}

// Appends to `made`; `used` says by which handles.
void Pkcs11Token::encrypt_rest(const Operation& operation, std::span<const EncryptItem> items,
                               std::vector<std::optional<Encrypted>>& made,
                               std::unordered_map<KeyId, CK_OBJECT_HANDLE>& used) {
    std::vector<Iv> ivs(items.size() - made.size());
    ivs_.draw(operation.session(), ivs);
    for (const Iv& iv : ivs) {
        const EncryptItem& item = items[made.size()];
        const auto key = keys_.find(operation, item.key);
        if (!key || key->kind != KeyKind::aes_256) {
            made.emplace_back(std::nullopt);
            continue;
        }
        made.push_back(
            Encrypted{iv, operation.session().encrypt(key->handle, iv, item.aad, item.plaintext)});
        used.emplace(item.key, key->handle);
    }
}

std::optional<base::SecretBytes> Pkcs11Token::open(const Operation& operation, const KeyId& id,
                                                   CK_OBJECT_HANDLE key, const DecryptItem& item) {
    base::SecretBytes plaintext;
    const CK_RV code =
        operation.session().decrypt(key, item.iv, item.aad, item.ciphertext, plaintext);
    if (code == CKR_OK) return plaintext;
    switch (classify(code)) {
        case ErrorClass::caller_fault:
            operation.lease.renew();
            return std::nullopt;
        case ErrorClass::ambiguous:
            // SoftHSM says CKR_GENERAL_ERROR for a wrong tag. A known answer tells that from a
            // broken token.
            operation.lease.renew();
            if (keys_.answers(operation, id, key)) return std::nullopt;
            throw Pkcs11Error(code, "C_Decrypt, and a known answer failed too",
                              ErrorClass::token_gone);
        case ErrorClass::session_dead:
        case ErrorClass::login_lost:
        case ErrorClass::handles_stale:
        case ErrorClass::token_gone:
        case ErrorClass::objects_doubtful:
        case ErrorClass::back_pressure:
        case ErrorClass::operator_latch:
        case ErrorClass::against_contract:
            break;
    }
    throw to_error(code, "C_Decrypt");
}

base::SecretBytes Pkcs11Token::decrypt(const KeyId& id, const Iv& iv, base::ByteView aad,
                                       base::ByteView ciphertext) {
    auto plaintext = connection_->repeatable(
        [&](const Operation& operation) -> std::optional<base::SecretBytes> {
            const KnownKey key = require_key(operation, id, KeyKind::aes_256);
            if (ciphertext.size() < tag_bytes) return std::nullopt;
            return open(operation, id, key.handle, {id, iv, aad, ciphertext});
        });
    if (!plaintext) throw base::decryption_failed();
    return std::move(*plaintext);
}

std::vector<std::optional<base::SecretBytes>> Pkcs11Token::decrypt_many(
    std::span<const DecryptItem> items) {
    const auto turn = turn_of_batch(items.size());
    return connection_->repeatable([&](const Operation& operation) {
        std::vector<std::optional<base::SecretBytes>> opened;
        opened.reserve(items.size());
        for (const DecryptItem& item : items) {
            const auto key =
                item.ciphertext.size() < tag_bytes ? std::nullopt : keys_.find(operation, item.key);
            const bool can_open = key && key->kind == KeyKind::aes_256;
            opened.push_back(can_open ? open(operation, item.key, key->handle, item)
                                      : std::nullopt);
        }
        return opened;
    });
}

void Pkcs11Token::random(std::span<std::uint8_t> out) {
    connection_->repeatable([&](const Operation& operation) { operation.session().random(out); });
}

}  // namespace hsm
