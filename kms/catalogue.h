// All keys in memory, for reading at the speed of requests. A snapshot never changes; an update
// puts a new one in its place, so a request sees one state of the world from beginning to end. The
// store is the truth: change it first, then the catalogue.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kms/key.h"

namespace kms {

// Immutable, so safe to share between threads.
class CatalogueSnapshot {
public:
    explicit CatalogueSnapshot(std::vector<KeyPointer> keys);

    // Null when there is none.
    KeyPointer find(const base::Uuid& id) const;
    KeyPointer find_alias(std::string_view alias) const;

    // In order of creation (time, then id).
    const std::vector<KeyPointer>& keys() const { return keys_; }

    // At most `limit` keys behind `after`, in order of creation; from the first when it is empty.
    // An `after` that is not in the catalogue gives nothing.
    std::vector<KeyPointer> page(const std::optional<base::Uuid>& after, std::size_t limit) const;

private:
    std::vector<KeyPointer> keys_;
    std::unordered_map<base::Uuid, KeyPointer> by_id_;
    std::unordered_map<std::string, KeyPointer> by_alias_;
};

// Thread-safe. An update copies the index: creating keys is rare, using them is not.
class Catalogue {
public:
    explicit Catalogue(std::vector<Key> keys);

    std::shared_ptr<const CatalogueSnapshot> snapshot() const;

    // Adds `key`, or puts it in the place of the one with its id.
    void put(Key key);

private:
    mutable std::mutex mutex_;  // held for a pointer copy when reading
    std::mutex update_mutex_;   // one update at a time
    std::shared_ptr<const CatalogueSnapshot> snapshot_;
};

}  // namespace kms
