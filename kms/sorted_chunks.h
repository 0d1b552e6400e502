// A sorted set that is cheap to copy and to change: its copies share what they have in common. It
// is a list of sorted chunks of bounded size; a change copies the list and one chunk, never the
// whole.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

namespace kms {

// `Name` is what items are ordered and found by: `static const Key& Name::of(const Item&)`, unique
// for each item. A value type; as thread-safe as any.
template <typename Item, typename Name>
class SortedChunks {
public:
    using Key = std::decay_t<decltype(Name::of(std::declval<const Item&>()))>;

    SortedChunks() = default;
    explicit SortedChunks(std::vector<Item> items) {
        std::sort(items.begin(), items.end(), before);
        for (std::size_t i = 0; i < items.size(); i += chunk_items / 2) {
            const auto first = items.begin() + static_cast<std::ptrdiff_t>(i);
            const auto count = std::min(chunk_items / 2, items.size() - i);
            chunks_.push_back(
                std::make_shared<const Chunk>(first, first + static_cast<std::ptrdiff_t>(count)));
        }
        size_ = items.size();
    }

    std::size_t size() const { return size_; }

    // Null when there is none.
    const Item* find(const Key& key) const {
        const auto chunk = chunk_of(key);
        if (chunk == chunks_.end()) return nullptr;
        const auto item = place_in(**chunk, key);
        return item != (*chunk)->end() && Name::of(*item) == key ? &*item : nullptr;
    }

    // At most `limit` items behind `after`, in order; from the first when it is null.
    std::vector<Item> page(const Key* after, std::size_t limit) const {
        std::vector<Item> items;
        auto chunk = after == nullptr ? chunks_.begin() : chunk_of(*after);
        for (bool first = after != nullptr; chunk != chunks_.end(); ++chunk, first = false) {
            auto item = first ? place_in(**chunk, *after) : (*chunk)->begin();
            if (first && item != (*chunk)->end() && Name::of(*item) == *after) ++item;
            for (; item != (*chunk)->end(); ++item) {
                if (items.size() == limit) return items;
                items.push_back(*item);
            }
        }
        return items;
    }

    // Calls visit(item) for each, in order.
    template <typename Visit>
    void for_each(Visit visit) const {
        for (const auto& chunk : chunks_) {
            for (const Item& item : *chunk) visit(item);
        }
    }

    // Adds `item`, or puts it in the place of the one with its name.
    void put(Item item) {
        const Key key = Name::of(item);
        if (chunks_.empty()) {
            chunks_.push_back(std::make_shared<const Chunk>(Chunk{std::move(item)}));
            size_ = 1;
            return;
        }
        auto place = chunks_.begin() + (chunk_of(key) - chunks_.cbegin());
        if (place == chunks_.end()) --place;  // behind the last of all
        Chunk chunk = **place;
        const auto at = chunk.begin() + (place_in(chunk, key) - chunk.cbegin());
        if (at != chunk.end() && Name::of(*at) == key) {
            *at = std::move(item);
        } else {
            chunk.insert(at, std::move(item));
            ++size_;
        }
        replace(place, std::move(chunk));
    }

    void erase(const Key& key) {
        const auto place = chunks_.begin() + (chunk_of(key) - chunks_.cbegin());
        if (place == chunks_.end()) return;
        Chunk chunk = **place;
        const auto at = chunk.begin() + (place_in(chunk, key) - chunk.cbegin());
        if (at == chunk.end() || Name::of(*at) != key) return;
        chunk.erase(at);
        --size_;
        if (chunk.empty()) {
            chunks_.erase(place);
        } else {
            replace(place, std::move(chunk));
        }
    }

private:
    static constexpr std::size_t chunk_items = 256;
    using Chunk = std::vector<Item>;  // sorted, never empty
    using Chunks = std::vector<std::shared_ptr<const Chunk>>;

    static bool before(const Item& left, const Item& right) {
        return Name::of(left) < Name::of(right);
    }

    // The first chunk whose last item is not before `key`.
    typename Chunks::const_iterator chunk_of(const Key& key) const {
        return std::partition_point(chunks_.begin(), chunks_.end(), [&](const auto& chunk) {
            return Name::of(chunk->back()) < key;
        });
    }

    static typename Chunk::const_iterator place_in(const Chunk& chunk, const Key& key) {
        return std::partition_point(chunk.begin(), chunk.end(),
                                    [&](const Item& item) { return Name::of(item) < key; });
    }

    void replace(typename Chunks::iterator place, Chunk chunk) {
        if (chunk.size() <= chunk_items) {
            *place = std::make_shared<const Chunk>(std::move(chunk));
            return;
        }
        const auto middle = chunk.begin() + static_cast<std::ptrdiff_t>(chunk.size() / 2);
        auto upper = std::make_shared<const Chunk>(middle, chunk.end());
        *place = std::make_shared<const Chunk>(chunk.begin(), middle);
        chunks_.insert(place + 1, std::move(upper));
    }

    Chunks chunks_;
    std::size_t size_ = 0;
};

}  // namespace kms
