// All keys in memory, for reading at the speed of requests. A snapshot never changes; an update
// puts a new one in its place, so a request sees one state of the world from beginning to end. The
// store is the truth: change it first, then the catalogue.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kms/key.h"
#include "kms/sorted_chunks.h"

namespace kms {

// Immutable, so safe to share between threads. Everything is found by index: no operation but
// keys() depends on how many there are.
class CatalogueSnapshot {
public:
    explicit CatalogueSnapshot(const std::vector<KeyPointer>& keys);

    // Null when there is none.
    KeyPointer find(const base::Uuid& id) const;
    KeyPointer find_alias(std::string_view alias) const;

    // All of them, in order of creation (time, then id). A copy.
    std::vector<KeyPointer> keys() const;
    std::size_t size() const { return by_id_.size(); }

    // At most `limit` keys behind `after`, in order of creation; from the first when it is empty.
    // An `after` that is not in the catalogue gives nothing.
    std::vector<KeyPointer> page(const std::optional<base::Uuid>& after, std::size_t limit) const;

    // At most `limit` aliases behind `after` with their keys, by name; from the first when it is
    // empty. `after` need not be there any more.
    struct Alias {
        std::string name;
        KeyPointer key;
    };
    std::vector<Alias> alias_page(const std::string& after, std::size_t limit) const;

private:
    friend class Catalogue;

    struct ById {
        static const base::Uuid& of(const KeyPointer& key) { return key->id; }
    };
    struct ByCreation {
        static std::pair<base::Time, base::Uuid> of(const KeyPointer& key) {
            return {key->created_at, key->id};
        }
    };
    struct ByName {
        static const std::string& of(const Alias& alias) { return alias.name; }
    };

    // Of a snapshot that is not shared yet.
    void put(KeyPointer key);
    void forget_aliases(const Key& key);

    SortedChunks<KeyPointer, ById> by_id_;
    SortedChunks<KeyPointer, ByCreation> by_creation_;
    SortedChunks<Alias, ByName> by_alias_;
};

// Thread-safe. An update costs about as much whether there are ten keys or ten thousand.
class Catalogue {
public:
    explicit Catalogue(std::vector<Key> keys);

    // Throws unavailable when it is not known to be up to date (valid_until).
    std::shared_ptr<const CatalogueSnapshot> snapshot() const;

    // Adds `key`, or puts it in the place of the one with its id, unless that is the newer one
    // (Key::change).
    void put(Key key);
    // All in one snapshot: for an alias that changes hands.
    void put(std::vector<Key> keys);

    // From now on snapshots are given out until then only: whoever follows a store that others
    // change says how long what it knows is good for. Before the first call it is without end.
    void valid_until(std::chrono::steady_clock::time_point time) { valid_until_ = time; }

private:
    mutable std::mutex mutex_;  // held for a pointer copy when reading
    std::mutex update_mutex_;   // one update at a time
    std::shared_ptr<const CatalogueSnapshot> snapshot_;
    std::atomic<std::chrono::steady_clock::time_point> valid_until_{
        std::chrono::steady_clock::time_point::max()};
};

}  // namespace kms
