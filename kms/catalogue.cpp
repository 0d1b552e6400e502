#include "kms/catalogue.h"

#include "base/error.h"

namespace kms {

CatalogueSnapshot::CatalogueSnapshot(const std::vector<KeyPointer>& keys)
    : by_id_(keys), by_creation_(keys) {
    std::vector<Alias> aliases;
    for (const auto& key : keys) {
        for (const auto& alias : key->aliases) aliases.push_back({alias, key});
    }
    by_alias_ = SortedChunks<Alias, ByName>(std::move(aliases));
}

KeyPointer CatalogueSnapshot::find(const base::Uuid& id) const {
    const KeyPointer* found = by_id_.find(id);
    return found == nullptr ? nullptr : *found;
}

KeyPointer CatalogueSnapshot::find_alias(std::string_view alias) const {
    const Alias* found = by_alias_.find(std::string(alias));
    return found == nullptr ? nullptr : found->key;
}

std::vector<KeyPointer> CatalogueSnapshot::keys() const {
    std::vector<KeyPointer> all;
    all.reserve(size());
    by_creation_.for_each([&](const KeyPointer& key) { all.push_back(key); });
    return all;
}

std::vector<KeyPointer> CatalogueSnapshot::page(const std::optional<base::Uuid>& after,
                                                std::size_t limit) const {
    if (!after) return by_creation_.page(nullptr, limit);
    const KeyPointer last_seen = find(*after);
    if (last_seen == nullptr) return {};
    const auto place = ByCreation::of(last_seen);
    return by_creation_.page(&place, limit);
}

std::vector<CatalogueSnapshot::Alias> CatalogueSnapshot::alias_page(const std::string& after,
                                                                    std::size_t limit) const {
    return by_alias_.page(after.empty() ? nullptr : &after, limit);
}

void CatalogueSnapshot::forget_aliases(const Key& key) {
    for (const auto& alias : key.aliases) {
        const Alias* entry = by_alias_.find(alias);
        if (entry != nullptr && entry->key->id == key.id) by_alias_.erase(alias);
    }
}

void CatalogueSnapshot::put(KeyPointer key) {
    for (const auto& alias : key->aliases) by_alias_.put({alias, key});
    by_id_.put(key);
    by_creation_.put(std::move(key));
}

Catalogue::Catalogue(std::vector<Key> keys) {
    std::vector<KeyPointer> pointers;
    pointers.reserve(keys.size());
    for (auto& key : keys) {
        pointers.push_back(std::make_shared<const Key>(std::move(key)));
    }
    snapshot_ = std::make_shared<const CatalogueSnapshot>(std::move(pointers));
}

std::shared_ptr<const CatalogueSnapshot> Catalogue::snapshot() const {
    if (std::chrono::steady_clock::now() > valid_until_.load()) {
        throw base::Error(base::ErrorCode::unavailable,
                          "the key store has not answered for too long: the states of the keys may "
                          "have changed");
    }
    const std::lock_guard lock(mutex_);
    return snapshot_;
}

void Catalogue::put(Key key) {
    std::vector<Key> keys;
    keys.push_back(std::move(key));
    put(std::move(keys));
}

void Catalogue::put(std::vector<Key> keys) {
    const std::lock_guard update_lock(update_mutex_);
    auto next = std::make_shared<CatalogueSnapshot>(*snapshot_);
    std::vector<KeyPointer> newer;
    for (auto& key : keys) {
        const KeyPointer known = next->find(key.id);
        if (known != nullptr && known->change > key.change) continue;
        // Every key gives up its aliases before any takes new ones.
        if (known != nullptr) next->forget_aliases(*known);
        newer.push_back(std::make_shared<const Key>(std::move(key)));
    }
    for (auto& key : newer) next->put(std::move(key));
    const std::lock_guard lock(mutex_);
    snapshot_ = std::move(next);
}

}  // namespace kms
