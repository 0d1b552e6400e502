#include "kms/catalogue.h"

#include <algorithm>

namespace kms {
namespace {

bool created_before(const KeyPointer& left, const KeyPointer& right) {
    return std::tie(left->created_at, left->id) < std::tie(right->created_at, right->id);
}

}  // namespace

CatalogueSnapshot::CatalogueSnapshot(std::vector<KeyPointer> keys) : keys_(std::move(keys)) {
    std::sort(keys_.begin(), keys_.end(), created_before);
    for (const auto& key : keys_) {
        by_id_.emplace(key->id, key);
        for (const auto& alias : key->aliases) by_alias_.emplace(alias, key);
    }
}

KeyPointer CatalogueSnapshot::find(const base::Uuid& id) const {
    const auto found = by_id_.find(id);
    return found == by_id_.end() ? nullptr : found->second;
}

KeyPointer CatalogueSnapshot::find_alias(std::string_view alias) const {
    const auto found = by_alias_.find(std::string(alias));
    return found == by_alias_.end() ? nullptr : found->second;
}

std::vector<KeyPointer> CatalogueSnapshot::page(const std::optional<base::Uuid>& after,
                                                std::size_t limit) const {
    auto first = keys_.begin();
    if (after) {
        const KeyPointer last_seen = find(*after);
        if (last_seen == nullptr) return {};
        first = std::upper_bound(keys_.begin(), keys_.end(), last_seen, created_before);
    }
    const auto left = static_cast<std::size_t>(keys_.end() - first);
    return {first, first + static_cast<std::ptrdiff_t>(std::min(limit, left))};
}

Catalogue::Catalogue(std::vector<Key> keys) {
    std::vector<KeyPointer> pointers;
    pointers.reserve(keys.size());
    for (auto& key : keys) pointers.push_back(std::make_shared<const Key>(std::move(key)));
    snapshot_ = std::make_shared<const CatalogueSnapshot>(std::move(pointers));
}

std::shared_ptr<const CatalogueSnapshot> Catalogue::snapshot() const {
    const std::lock_guard lock(mutex_);
    return snapshot_;
}

void Catalogue::put(Key key) {
    const std::lock_guard update_lock(update_mutex_);
    std::vector<KeyPointer> keys = snapshot()->keys();
    const auto same_id = [&](const KeyPointer& other) { return other->id == key.id; };
    keys.erase(std::remove_if(keys.begin(), keys.end(), same_id), keys.end());
    keys.push_back(std::make_shared<const Key>(std::move(key)));
    auto next = std::make_shared<const CatalogueSnapshot>(std::move(keys));
    const std::lock_guard lock(mutex_);
    snapshot_ = std::move(next);
}

}  // namespace kms
