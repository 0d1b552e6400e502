#include "kms/lifecycle.h"

#include <algorithm>

#include "base/error.h"
#include "kms/actions.h"
#include "kms/grants.h"
#include "kms/known_answer.h"
#include "kms/lifecycle_making.h"

namespace kms {
namespace {

// What only a key for encryption can have.
void require_fitting(hsm::KeyKind kind, bool with_period, const ContextRule& rule) {
    if (kind == hsm::KeyKind::aes_256) return;
    if (with_period) {
        throw base::Error(
            base::ErrorCode::invalid_argument,
            "only a key of kind aes_256 rotates by itself: the next public key of one "
            "that signs must be given out first, and who checks MACs by their "
            "version must know the next; rotate it by an order");
    }
    if (rule != ContextRule()) {
        throw base::Error(base::ErrorCode::invalid_argument,
                          "only a key of kind aes_256 has a context rule");
    }
}

void require_period(std::optional<int> days) {
    if (!days || (*days >= 1 && *days <= max_rotation_period_days)) return;
    throw base::Error(
        base::ErrorCode::invalid_argument,
        "the rotation period must be 1 to " + std::to_string(max_rotation_period_days) + " days");
}

void require_valid(const NewKey& wanted) {
    if (!wanted.alias.empty() && !is_alias(wanted.alias)) {
        throw base::Error(base::ErrorCode::invalid_argument, "the alias is not well-formed");
    }
    require_period(wanted.rotation_period_days);
    require_fitting(wanted.kind, wanted.rotation_period_days.has_value(), wanted.context_rule);
    if (wanted.kind != hsm::KeyKind::aes_256 && wanted.profile != hsm::KeyProfile::sealed) {
        throw base::Error(base::ErrorCode::invalid_argument,
                          "only a key of kind aes_256 can be restorable");
    }
}

Key new_key(const NewKey& wanted, const std::string& request, base::Time now) {
    Key key;
    key.id = base::Uuid::random();
    key.kind = wanted.kind;
    key.profile = wanted.profile;
    key.description = wanted.description;
    key.tags = wanted.tags;
    key.wanted_alias = wanted.alias;
    key.created_at = now;
    key.rotation_period_days = wanted.rotation_period_days;
    key.next_rotation_at = next_rotation(key, now);
    key.context_rule = wanted.context_rule;
    KeyVersion version;
    version.version = 1;
    version.token_key_id = base::Uuid::random();
    version.created_at = now;
    version.request = request;
    key.versions.push_back(std::move(version));
    return key;
}

void record_making(const OrderContext& order, const Key& key, const KeyVersion& version) {
    if (!order.record_intent) return;
    order.record_intent({{"key_id", key.id.to_string()},
                         {"key_version", std::to_string(version.version)},
                         {"kind", std::string(hsm::to_string(key.kind))},
                         {"token_key_id", version.token_key_id.to_string()}});
}

}  // namespace

KeyLifecycle::KeyLifecycle(Catalogue& catalogue, Store& store, hsm::Token& token,
                           UsageCounter& usage, const base::Clock& clock, base::Log& log)
    : catalogue_(catalogue),
      store_(store),
      token_(token),
      usage_(usage),
      clock_(clock),
      log_(log),
      settler_(store, token, usage, clock, log) {}

KeyPointer KeyLifecycle::require_key(const base::Uuid& key_id) const {
    KeyPointer key = catalogue_.snapshot()->find(key_id);
    if (key == nullptr) throw base::Error(base::ErrorCode::not_found, "there is no such key");
    return key;
}

Key KeyLifecycle::require_stored(const base::Uuid& key_id) {
    auto key = store_.find(key_id);
    if (!key) throw base::Error(base::ErrorCode::not_found, "there is no such key");
    return std::move(*key);
}

KeyPointer KeyLifecycle::with_usage(const KeyPointer& key) const {
    auto shown = std::make_shared<Key>(*key);
    for (auto& version : shown->versions) {
        const UsageFigures figures = usage_.figures(key->id, version);
        version.wraps_reserved = figures.wraps_reserved;
        version.wraps_used = figures.wraps_used;
        version.rewrapped_away = figures.rewrapped_away;
        version.last_used_at = figures.last_used_at;
    }
    return shown;
}

KeyPointer KeyLifecycle::refresh(const base::Uuid& key_id) {
    catalogue_.put(require_stored(key_id));
    return with_usage(require_key(key_id));
}

KeyDescription KeyLifecycle::describe_stored(const base::Uuid& key_id) {
    KeyDescription description{with_usage(require_key(key_id)), {}, {}};
    bool has_gone = false;
    for (const auto& version : description.key->versions) {
        const bool is_gone = version.state == KeyState::destroyed;
        has_gone = has_gone || is_gone;
        description.attributes.push_back(is_gone ? std::nullopt
                                                 : token_.find_key(version.token_key_id));
    }
    if (description.key->state == KeyState::destroyed) {
        description.tombstone = store_.tombstone(key_id);
    }
    if (has_gone) description.version_tombstones = store_.version_tombstones(key_id);
    return description;
}

std::optional<base::Uuid> KeyLifecycle::made_by(const OrderContext& order, const Making& making) {
    if (order.request.empty()) return std::nullopt;
    const auto name = store_.find_version_of(order.request);
    if (!name) return std::nullopt;
    const Key key = require_stored(name->key_id);
    const KeyVersion* version = key.find_version(name->version);
    if (version == nullptr || version->state == KeyState::destroyed) return std::nullopt;
    if (version->state == KeyState::pending) {
        record_settling(order.record_intent, key, *version);
        const RecordGivenUp record = record_given_up(order.record_intent);
        const Settled settled =
            key.state == KeyState::pending
                ? settler_.settle_key(key, making.holder(), record)
                : settler_.settle_version(key, *version, making.holder(), record);
        if (settled == Settled::abandoned) return std::nullopt;
        if (settled == Settled::left_pending) {
            throw base::Error(base::ErrorCode::unavailable,
                              "the new key can't be proven durable now and is not used",
                              "key " + key.id.to_string());
        }
    } else if (order.note_repeated) {
        order.note_repeated();
    }
    return key.id;
}

hsm::KeyAttributes KeyLifecycle::make_in_token(const Key& key, KeyVersion& version,
                                               const Making& making) {
    making.require_held();
    hsm::KeyAttributes attributes = token_.generate_key(
        version.token_key_id, token_label(key.id, version.version), key.kind, key.profile);
    if (key.use() == KeyUse::encrypt) usage_.take(key.id, version.version, 1);
    version.known_answer = make_known_answer(token_, key, version);
    if (hold_to_known_answer(token_, key, version) != KeyProof::proven) {
        throw base::Error(base::ErrorCode::unavailable,
                          "the new key did not prove itself and is not used",
                          "key " + key.id.to_string());
    }
    return attributes;
}

KeyDescription KeyLifecycle::create(const server::Grant& grant, const NewKey& wanted,
                                    const OrderContext& order) {
    require_grant(grant, create_key, "*");
    require_valid(wanted);
    if (token_.supported_kinds().count(wanted.kind) == 0) {
        base::refuse("the token can't make keys of kind " +
                     std::string(hsm::to_string(wanted.kind)));
    }
    const Making making(*this);
    if (const auto made = made_by(order, making)) {
        const KeyPointer key = refresh(*made);
        if (!wanted.alias.empty() && std::find(key->aliases.begin(), key->aliases.end(),
                                               wanted.alias) == key->aliases.end()) {
            throw base::Error(base::ErrorCode::already_exists,
                              "another key has this alias; the key that was made, " +
                                  key->id.to_string() + ", has none");
        }
        return describe_stored(*made);
    }
    if (!wanted.alias.empty() && catalogue_.snapshot()->find_alias(wanted.alias) != nullptr) {
        throw base::Error(base::ErrorCode::already_exists, "another key has this alias");
    }
    Key key = new_key(wanted, order.request, clock_.now());
    KeyVersion& version = key.versions.front();
    record_making(order, key, version);
    // From here on a failure leaves a pending record: it is finished or abandoned when the request
    // is repeated, or at the next start.
    store_.add_pending_key(key, making.holder());
    const hsm::KeyAttributes attributes = make_in_token(key, version, making);
    store_.enable_key(key.id, version.known_answer, wanted.alias, making.holder());
    return {refresh(key.id), {attributes}, {}};
}

KeyPage KeyLifecycle::list(const server::Grant& grant, const std::optional<base::Uuid>& after,
                           std::size_t limit) const {
    require_grant(grant, list_keys, "*");
    KeyPage page;
    page.keys = catalogue_.snapshot()->page(after, limit + 1);
    if (page.keys.size() > limit) {
        page.keys.pop_back();
        page.next = page.keys.back()->id;
    }
    for (auto& key : page.keys) key = with_usage(key);
    return page;
}

KeyDescription KeyLifecycle::describe(const server::Grant& grant, const base::Uuid& key_id) {
    require_grant(grant, describe_key, key_id.to_string());
    return describe_stored(key_id);
}

void KeyLifecycle::make_version(const Key& key, const OrderContext& order, const Making& making) {
    KeyVersion version;
    version.version = static_cast<std::uint32_t>(key.versions.size() + 1);
    version.token_key_id = base::Uuid::random();
    version.created_at = clock_.now();
    version.request = order.request;
    record_making(order, key, version);
    store_.add_pending_version(key.id, version, making.holder());
    make_in_token(key, version, making);
    store_.enable_version(key.id, version.version, version.known_answer,
                          next_rotation(key, clock_.now()), making.holder());
}

KeyPointer KeyLifecycle::rotate(const server::Grant& grant, const base::Uuid& key_id,
                                std::optional<std::uint32_t> if_primary,
                                const OrderContext& order) {
    require_grant(grant, rotate_key, key_id.to_string());
    const Making making(*this);
    if (made_by(order, making)) return refresh(key_id);
    const Key key = require_stored(key_id);
    require_permitted(key, KeyOperation::rotate);
    if (if_primary && *if_primary != key.primary_version) {
        base::refuse("the primary version is " + std::to_string(key.primary_version));
    }
    if (making.settle_leftover(key, order.record_intent)) return refresh(key_id);
    make_version(require_stored(key_id), order, making);
    return refresh(key_id);
}

bool KeyLifecycle::is_rotation_due(const Key& key) const {
    if (!permits(key.state, KeyOperation::rotate)) return false;
    if (key.next_rotation_at && *key.next_rotation_at <= clock_.now()) return true;
    return key.use() == KeyUse::encrypt && key.primary().wraps_reserved >= wraps_before_rotation;
}

bool KeyLifecycle::rotate_if_due(const base::Uuid& key_id, const RecordIntent& record_intent) {
    if (!is_rotation_due(*require_key(key_id))) return false;
    const Making making(*this);
    const Key key = require_stored(key_id);
    if (!is_rotation_due(key)) {  // another node was faster
        refresh(key_id);
        return false;
    }
    if (!making.settle_leftover(key, record_intent))
        make_version(require_stored(key_id), {{}, record_intent}, making);
    refresh(key_id);
    return true;
}

KeyPointer KeyLifecycle::change(const server::Grant& grant, const server::Grant* tagging,
                                const base::Uuid& key_id, const KeyChange& wanted,
                                const OrderContext& order) {
    require_grant(grant, change_key, key_id.to_string());
    if (tagging != nullptr) require_grant(*tagging, tag_key, key_id.to_string());
    const auto apply = [&](Key& key) {
        if (key.revision != wanted.if_revision) {
            base::refuse("the key has revision " + std::to_string(key.revision) +
                         ", not the one that the change is for: read it again");
        }
        if (wanted.description) key.description = *wanted.description;
        if (wanted.tags && *wanted.tags != key.tags) {
            // Another node may have given it other tags than those that the policy was asked about.
            if (tagging == nullptr || tagging->resource().tags != key.tags) {
                base::refuse("the key has other tags than those that were authorised: try again");
            }
            key.tags = *wanted.tags;
        }
        if (wanted.rotation_period_days &&
            *wanted.rotation_period_days != key.rotation_period_days) {
            require_period(*wanted.rotation_period_days);
            key.rotation_period_days = *wanted.rotation_period_days;
            key.next_rotation_at = next_rotation(key, clock_.now());
        }
        if (wanted.context_rule) key.context_rule = *wanted.context_rule;
        require_fitting(key.kind, key.rotation_period_days.has_value(), key.context_rule);
        return true;
    };
    return edit(key_id, KeyOperation::change, apply, order);
}

KeyPointer KeyLifecycle::set_alias(const server::Grant& grant, const server::Grant* from_grant,
                                   const std::string& alias, const OrderContext& order) {
    const auto id_of = [](const server::Grant* one) {
        const auto id = one == nullptr ? std::nullopt : base::Uuid::parse(one->resource().id);
        return id.value_or(base::Uuid());
    };
    const base::Uuid to = id_of(&grant);
    const base::Uuid from = id_of(from_grant);
    require_grant(grant, change_alias, to.to_string());
    if (from_grant != nullptr) require_grant(*from_grant, change_alias, from.to_string());
    if (!is_alias(alias)) {
        throw base::Error(base::ErrorCode::invalid_argument, "the alias is not well-formed");
    }
    require_permitted(require_stored(to), KeyOperation::add_alias);
    if (!from.is_nil() && from == to) return refresh(to);
    if (!store_.move_alias(alias, from, to, order.request)) {
        base::refuse("the alias has been changed meanwhile: read it again");
    }
    std::vector<Key> changed;
    changed.push_back(require_stored(to));
    if (!from.is_nil()) changed.push_back(require_stored(from));
    catalogue_.put(std::move(changed));
    return with_usage(require_key(to));
}

void KeyLifecycle::remove_alias(const server::Grant& grant, const std::string& alias,
                                const OrderContext& order) {
    const auto from = base::Uuid::parse(grant.resource().id).value_or(base::Uuid());
    require_grant(grant, change_alias, from.to_string());
    if (!store_.move_alias(alias, from, base::Uuid(), order.request)) {
        base::refuse("the alias has been changed meanwhile: read it again");
    }
    refresh(from);
}

}  // namespace kms
