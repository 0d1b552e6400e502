#include "kms/witness/seen_heads.h"

namespace kms {

using server::Checkpoint;

void SeenHeads::know(const Checkpoint& kept) { seen_[kept.origin] = {kept, 0}; }

void SeenHeads::prove(const Checkpoint& proven) {
    Seen& known = seen_[proven.origin];
    if (known.checkpoint.size >= proven.size) return;
    known = {proven, ++epoch_};
    last_head_.clear();  // it is of less than is known now
}

SeenHeads::News SeenHeads::see(std::uint64_t before, std::string_view head) {
    News news;
    if (!head.empty() && head == last_head_) return news;
    const auto now = server::parse_checkpoint_head(head);
    if (!now) {
        // An older key service, one without checkpoints, or one that hides them.
        news.is_head = false;
        news.is_worth_asking = !seen_.empty();
        return news;
    }
    const auto place = seen_.find(now->origin);
    if (place != seen_.end() && now->size <= place->second.checkpoint.size) {
        const Seen& known = place->second;
        const bool other_root =
            now->size == known.checkpoint.size && now->root != known.checkpoint.root;
        // An answer that was under way when this was learned may know less.
        const bool forgot = now->size < known.checkpoint.size && known.epoch <= before;
        if (other_root || forgot) {
            news.conflict = LogConflict{
                std::string(other_root ? two_logs_of_one_size : log_is_shorter), now->origin,
                server::checkpoint_text(known.checkpoint), server::checkpoint_text(*now)};
        }
        return news;
    }
    if (place == seen_.end() && !seen_.empty() && seen_.size() >= logs_) {
        news.conflict = LogConflict{std::string(log_of_another_name), now->origin,
                                    server::checkpoint_text(seen_.begin()->second.checkpoint),
                                    server::checkpoint_text(*now)};
        return news;
    }
    last_head_ = head;
    // A log that has no checkpoint yet may still get another name.
    if (now->size == 0) return news;
    seen_[now->origin] = {*now, ++epoch_};
    news.is_worth_asking = true;
    return news;
}

std::optional<SeenHeads::Head> SeenHeads::of(const std::string& origin,
                                             std::uint64_t before) const {
    const auto place = seen_.find(origin);
    if (place == seen_.end()) return std::nullopt;
    return Head{place->second.checkpoint, place->second.epoch <= before};
}

}  // namespace kms
