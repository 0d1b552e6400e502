#include "server/budget_charge.h"

#include <algorithm>

namespace server {
namespace {

// A quota is reserved in so many blocks, each of at most so many items: what one request in a
// hundred costs a sync, and what a crash loses.
constexpr std::uint64_t blocks_of_a_quota = 100;
constexpr std::uint64_t max_block = 10'000;
// What was used up is asked for again after so long: other nodes give back what they did not use,
// and a caller who goes on must not cost a write for each refusal.
constexpr std::chrono::seconds used_up_age{1};

std::uint64_t block_of(std::uint64_t limit) {
    return std::clamp<std::uint64_t>(limit / blocks_of_a_quota, 1, max_block);
}

}  // namespace

std::string counted_items(Window window) { return "items/" + std::string(to_string(window)); }
std::string counted_records(Window window) { return "records/" + std::string(to_string(window)); }

// What an operation opens: the first 64 bits of the hash of each.
std::vector<std::int64_t> Budgets::CallerState::records_of(
    const Operation& operation, const Resource& resource,
    const std::map<std::string, std::string>& context) {
    std::vector<std::int64_t> names;
    for (const std::string& record : operation.records()) names.push_back(short_hash(record));
    if (!names.empty()) return names;
    std::string text;
    // Lengths keep the parts apart.
    const auto add = [&text](const std::string& part) {
        text += std::to_string(part.size()) + ':' + part;
    };
    add(resource.kind);
    add(resource.owner);
    add(resource.id);
    for (const auto& [name, value] : context) {
        add(name);
        add(value);
    }
    return {short_hash(text)};
}

std::int64_t Budgets::CallerState::short_hash(std::string_view text) {
    const auto hash = digest.digest(text);
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof value; ++i) value = value << 8U | hash[i];
    return static_cast<std::int64_t>(value);
}

void Budgets::Charge::look_at_work(const Limit& limit, std::uint64_t items) {
    LimitState& state = state_.limits[limit.id];
    work_.push_back({&limit, &state, items});
    if (limit.concurrent && state.running >= *limit.concurrent) {
        refuse(limit, "concurrent", 0, std::chrono::seconds(1));
    }
    if (limit.rate) {
        const auto wait = state.bucket.wait(*limit.rate, items, now_);
        if (wait.count() > 0) refuse(limit, "rate", state.bucket.left(), wait);
    }
    for (const auto& [window, quota] : limit.quotas) {
        Reserve& reserve = state.quotas[window];
        reserve.window = window;
        roll(reserve);
        if (reserve.left < items) fill(reserve, limit.id, items, quota, {});
        if (reserve.left >= items) continue;
        refuse(limit, to_string(window), reserve.left, until_next(reserve));
    }
}

void Budgets::Charge::look_at_records(const Limit& limit, const std::vector<std::int64_t>& names) {
    LimitState& state = state_.limits[limit.id];
    if (!state.records || state.records->reserve.window != limit.records->window) {
        state.records.emplace();
        state.records->reserve.window = limit.records->window;
    }
    OpenedRecords& records = *state.records;
    Reserve& reserve = records.reserve;
    reserve.name = name_of(limit.id, counted_records(reserve.window));
    if (roll(reserve)) records.is_loaded = false;
    if (!records.is_loaded) load(records);
    std::vector<std::int64_t> fresh = unopened(records, names);
    if (fresh.size() > reserve.left) {
        const base::Time before = *reserve.begin;
        if (fill(reserve, limit.id, fresh.size(), limit.records->limit, records.unwritten))
            records.unwritten.clear();
        if (*reserve.begin != before) {
            records.is_loaded = false;
            load(records);
            fresh = unopened(records, names);
        }
    }
    if (reserve.left >= fresh.size()) {
        records_.emplace_back(&records, std::move(fresh));
    } else {
        refuse(limit, counted_records(reserve.window), reserve.left, until_next(reserve));
    }
}

// The limits that hold a place of concurrency now.
std::vector<std::string> Budgets::Charge::take() {
    std::vector<std::string> held;
    for (const auto& [limit, state, items] : work_) {
        if (limit->rate) state->bucket.take(items);
        for (const auto& quota : limit->quotas) state->quotas[quota.first].left -= items;
        if (!limit->concurrent) continue;
        ++state->running;
        held.push_back(limit->id);
    }
    for (const auto& [records, fresh] : records_) {
        for (const std::int64_t record : fresh) {
            if (!records->opened.insert(record).second) continue;
            records->unwritten.push_back(record);
            --records->reserve.left;
        }
    }
    return held;
}

CounterName Budgets::Charge::name_of(const std::string& limit, std::string counted) const {
    return {caller_, limit, std::move(counted)};
}

// Of several refusals the one that lasts longest is told.
void Budgets::Charge::refuse(const Limit& limit, std::string_view window, std::uint64_t remaining,
                             std::chrono::milliseconds wait) {
    if (refusal_ && refusal_->wait >= wait) return;
    refusal_ = Refusal{limit.id, std::string(window), remaining, wait};
}

Period Budgets::Charge::period(Window window) const { return period_of(window, now_, anchor_day_); }

// Goes on to the period that is now. A clock that went back stays in the period it was in,
// unless it had been wrong by more than one. Whether the period is another.
bool Budgets::Charge::roll(Reserve& reserve) const {
    const Period now = period(reserve.window);
    if (reserve.begin && *reserve.begin >= now.begin && *reserve.begin <= now.end) {
        return false;
    }
    reserve.begin = now.begin;
    reserve.left = 0;
    reserve.used_up.reset();
    return true;
}

bool Budgets::Charge::fill(Reserve& reserve, const std::string& limit_id, std::uint64_t items,
                           std::uint64_t quota, std::span<const std::int64_t> opened) {
    if (reserve.name.limit.empty()) {
        reserve.name = name_of(limit_id, counted_items(reserve.window));
    }
    const bool was_asked = reserve.used_up && reserve.used_up_quota == quota &&
                           std::chrono::abs(now_ - *reserve.used_up) < used_up_age;
    if (was_asked) return false;
    const std::uint64_t wanted = std::max(items - reserve.left, block_of(quota));
    const BudgetReservation more =
        store_.reserve(reserve.name, period(reserve.window), wanted, quota, opened);
    if (more.begin != *reserve.begin) {
        reserve.begin = more.begin;
        reserve.left = 0;
    }
    reserve.left += more.granted;
    reserve.used_up.reset();
    if (more.granted < wanted) reserve.used_up = now_;
    reserve.used_up_quota = quota;
    return true;
}

void Budgets::Charge::load(OpenedRecords& records) {
    const auto known = store_.records(records.reserve.name, *records.reserve.begin);
    records.opened = std::unordered_set<std::int64_t>(known.begin(), known.end());
    records.unwritten.clear();
    records.is_loaded = true;
}

// Those of `names`, each once, that were not opened yet: by this node, nor by another one.
std::vector<std::int64_t> Budgets::Charge::unopened(OpenedRecords& records,
                                                    const std::vector<std::int64_t>& names) {
    std::vector<std::int64_t> fresh;
    for (const std::int64_t name : names) {
        if (!records.opened.contains(name)) fresh.push_back(name);
    }
    std::sort(fresh.begin(), fresh.end());
    fresh.erase(std::unique(fresh.begin(), fresh.end()), fresh.end());
    if (fresh.empty() || !store_.is_shared()) return fresh;
    for (const std::int64_t known :
         store_.known_records(records.reserve.name, *records.reserve.begin, fresh)) {
        records.opened.insert(known);
        std::erase(fresh, known);
    }
    return fresh;
}

std::chrono::milliseconds Budgets::Charge::until_next(const Reserve& reserve) const {
    return period_of(reserve.window, *reserve.begin, anchor_day_).end - now_;
}

}  // namespace server
