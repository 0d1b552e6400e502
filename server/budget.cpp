#include "server/budget.h"

#include <algorithm>
#include <unordered_set>

#include "base/error.h"
#include "server/digest.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;

// A quota is reserved in so many blocks, each of at most so many items: what one request in a
// hundred costs a sync, and what a crash loses.
constexpr std::uint64_t blocks_of_a_quota = 100;
constexpr std::uint64_t max_block = 10'000;
// Other nodes' suspensions and liftings are seen after so long.
constexpr std::chrono::seconds suspension_age{1};
// Callers whose counters are kept in memory; beyond it idle ones are forgotten, with what they had
// reserved.
constexpr std::size_t max_states = 50'000;
constexpr std::chrono::minutes idle_state{10};
constexpr double budget_lines_per_second = 10;
constexpr double budget_lines_at_once = 50;

std::string counted_items(Window window) { return "items/" + std::string(to_string(window)); }
std::string counted_records(Window window) { return "records/" + std::string(to_string(window)); }

std::uint64_t block_of(std::uint64_t limit) {
    return std::clamp<std::uint64_t>(limit / blocks_of_a_quota, 1, max_block);
}

std::chrono::seconds whole_seconds(std::chrono::milliseconds time) {
    return std::max(std::chrono::ceil<std::chrono::seconds>(time), std::chrono::seconds(1));
}

// The reserve that this node has of one quota.
struct Reserve {
    CounterName name;
    Window window = Window::day;
    std::optional<base::Time> begin;  // of the period it is from
    std::uint64_t left = 0;
};

struct OpenedRecords {
    Reserve reserve;
    std::unordered_set<std::int64_t> opened;
    std::vector<std::int64_t> unwritten;  // not in the database yet
    bool is_loaded = false;               // what was opened in this period was read
};

struct LimitState {
    TokenBucket bucket;
    std::uint64_t running = 0;
    std::map<Window, Reserve> quotas;
    std::optional<OpenedRecords> records;
};

}  // namespace

struct Budgets::CallerState {
    std::mutex mutex;
    std::map<std::string, LimitState, std::less<>> limits;
    std::uint64_t overruns = 0;
    base::Time overruns_since{};
    base::Time used_at{};
    Sha256 digest;

    // What an operation opens: the first 64 bits of the hash of each.
    std::vector<std::int64_t> records_of(const Operation& operation, const Resource& resource,
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

private:
    std::int64_t short_hash(std::string_view text) {
        const auto hash = digest.digest(text);
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < sizeof value; ++i) value = value << 8U | hash[i];
        return static_cast<std::int64_t>(value);
    }
};

// Why an operation is too much.
struct Budgets::Refusal {
    std::string limit;
    std::string window;
    std::uint64_t remaining = 0;
    std::chrono::milliseconds wait{0};
};

// One operation's charge, under the caller's lock: first everything is looked at and reserved, then
// all of it is taken.
class Budgets::Charge {
public:
    Charge(BudgetStore& store, CallerState& state, unsigned anchor_day, base::Time now)
        : store_(store), state_(state), anchor_day_(anchor_day), now_(now) {}

    void look_at_work(const Limit& limit, std::uint64_t items) {
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

    void look_at_records(const Limit& limit, const std::vector<std::int64_t>& names) {
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
            fill(reserve, limit.id, fresh.size(), limit.records->limit, records.unwritten);
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

    const std::optional<Refusal>& refusal() const { return refusal_; }

    // The limits that hold a place of concurrency now.
    std::vector<std::string> take() {
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

    void name_caller(const std::string& caller) { caller_ = caller; }

private:
    struct Work {
        const Limit* limit;
        LimitState* state;
        std::uint64_t items;
    };

    CounterName name_of(const std::string& limit, std::string counted) const {
        return {caller_, limit, std::move(counted)};
    }

    // Of several refusals the one that lasts longest is told.
    void refuse(const Limit& limit, std::string_view window, std::uint64_t remaining,
                std::chrono::milliseconds wait) {
        if (refusal_ && refusal_->wait >= wait) return;
        refusal_ = Refusal{limit.id, std::string(window), remaining, wait};
    }

    Period period(Window window) const { return period_of(window, now_, anchor_day_); }

    // Goes on to the period that is now. A clock that went back stays in the period it was in,
    // unless it had been wrong by more than one. Whether the period is another.
    bool roll(Reserve& reserve) const {
        const Period now = period(reserve.window);
        if (reserve.begin && *reserve.begin >= now.begin && *reserve.begin <= now.end) {
            return false;
        }
        reserve.begin = now.begin;
        reserve.left = 0;
        return true;
    }

    void fill(Reserve& reserve, const std::string& limit_id, std::uint64_t items,
              std::uint64_t quota, std::span<const std::int64_t> opened) {
        if (reserve.name.limit.empty()) {
            reserve.name = name_of(limit_id, counted_items(reserve.window));
        }
        const std::uint64_t wanted = std::max(items - reserve.left, block_of(quota));
        const BudgetReservation more =
            store_.reserve(reserve.name, period(reserve.window), wanted, quota, opened);
        if (more.begin != *reserve.begin) {
            reserve.begin = more.begin;
            reserve.left = 0;
        }
        reserve.left += more.granted;
    }

    void load(OpenedRecords& records) {
        const auto known = store_.records(records.reserve.name, *records.reserve.begin);
        records.opened = std::unordered_set<std::int64_t>(known.begin(), known.end());
        records.unwritten.clear();
        records.is_loaded = true;
    }

    // Those of `names`, each once, that were not opened yet: by this node, nor by another one.
    std::vector<std::int64_t> unopened(OpenedRecords& records,
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

    std::chrono::milliseconds until_next(const Reserve& reserve) const {
        return period_of(reserve.window, *reserve.begin, anchor_day_).end - now_;
    }

    BudgetStore& store_;
    CallerState& state_;
    unsigned anchor_day_;
    base::Time now_;
    std::string caller_;
    std::vector<Work> work_;
    std::vector<std::pair<OpenedRecords*, std::vector<std::int64_t>>> records_;
    std::optional<Refusal> refusal_;
};

Budgets::Budgets(BudgetTiers tiers, BudgetParts parts)
    : tiers_(std::move(tiers)),
      parts_(std::move(parts)),
      store_(parts_.database),
      lines_(budget_lines_per_second, budget_lines_at_once) {}

Budgets::~Budgets() {
    try {
        for (const auto& [caller, state] : states_) {
            for (auto& [id, limit] : state->limits) {
                for (auto& [window, reserve] : limit.quotas) {
                    if (reserve.left == 0) continue;
                    store_.give_back(reserve.name, *reserve.begin, reserve.left);
                }
                if (!limit.records) continue;
                const Reserve& reserve = limit.records->reserve;
                if (reserve.left == 0 && limit.records->unwritten.empty()) continue;
                store_.give_back(reserve.name, *reserve.begin, reserve.left,
                                 limit.records->unwritten);
            }
        }
    } catch (const std::exception& error) {
        // The reserve is lost, as by a crash.
        if (parts_.log != nullptr) {
            parts_.log->warning("unused budgets could not be given back",
                                {{"reason", error.what()}});
        }
    }
}

BudgetTiers Budgets::tiers() const {
    const std::lock_guard lock(tiers_mutex_);
    return tiers_;
}

void Budgets::replace(BudgetTiers tiers) {
    const std::lock_guard lock(tiers_mutex_);
    tiers_ = std::move(tiers);
}

std::string Budgets::hash() const { return tiers().hash(); }

void Budgets::count(std::string_view metric) {
    if (parts_.metrics != nullptr) parts_.metrics->count(metric);
}

std::shared_ptr<Budgets::CallerState> Budgets::state_of(const std::string& caller, base::Time now) {
    const std::lock_guard lock(states_mutex_);
    if (states_.size() >= max_states) {
        std::erase_if(states_, [now](const auto& entry) {
            return entry.second.use_count() == 1 && now - entry.second->used_at > idle_state;
        });
    }
    auto& state = states_[caller];
    if (!state) state = std::make_shared<CallerState>();
    state->used_at = now;
    return state;
}

void Budgets::refuse_suspended(const std::string& caller, base::Time now) {
    const std::lock_guard lock(suspended_mutex_);
    if (!suspended_read_ || now < *suspended_read_ || now - *suspended_read_ >= suspension_age) {
        std::set<std::string, std::less<>> read;
        for (auto& each : store_.suspended()) read.insert(std::move(each.caller));
        suspended_ = std::move(read);
        suspended_read_ = now;
    }
    if (!suspended_.contains(caller)) return;
    throw Error(ErrorCode::caller_suspended,
                "the caller is suspended for repeated overruns until an operator lifts it");
}

void Budgets::charge(Operation& operation, Action action, const Resource& resource,
                     const std::map<std::string, std::string>& context) {
    const base::Time now = parts_.clock.now();
    const std::string& caller = operation.caller().id;
    std::shared_ptr<CallerState> state;
    std::optional<Refusal> refusal;
    try {
        refuse_suspended(caller, now);
        const BudgetTiers tiers = this->tiers();
        const Tier* tier = tiers.tier_of(operation.caller());
        if (tier == nullptr) return;
        state = state_of(caller, now);
        const std::lock_guard lock(state->mutex);
        Charge charge(store_, *state, tiers.anchor_day(), now);
        charge.name_caller(caller);
        std::vector<std::string> charged;
        for (const Limit& limit : tier->limits) {
            if (!limit.covers(action.word)) continue;
            const bool first = !operation.has_charged(limit.id);
            if (limit.records && (first || operation.records().empty())) {
                charge.look_at_records(limit, state->records_of(operation, resource, context));
            }
            if (!first) continue;
            charge.look_at_work(limit, std::max<std::uint64_t>(operation.work(), 1));
            charged.push_back(limit.id);
        }
        refusal = charge.refusal();
        if (!refusal) {
            for (std::string& id : charged) operation.charged_.push_back(std::move(id));
            auto held = charge.take();
            if (held.empty()) return;
            operation.holds_.emplace_back(nullptr, [state, held = std::move(held)](void*) {
                const std::lock_guard release(state->mutex);
                for (const std::string& id : held) --state->limits[id].running;
            });
            return;
        }
    } catch (const Error& error) {
        if (error.code() == ErrorCode::caller_suspended) throw;
        count("quota_checks_failed");
        throw Error(ErrorCode::quota_check_failed, "the caller's budget can't be checked",
                    error.what());
    }
    refuse(operation, *state, *refusal, now);
}

void Budgets::refuse(Operation& operation, CallerState& state, const Refusal& refusal,
                     base::Time now) {
    const std::string limit = refusal.limit + " " + refusal.window;
    count("operations_over_budget");
    operation.set_fact("over_budget", limit);
    const auto left_out = lines_.pass(std::chrono::steady_clock::now());
    if (left_out && parts_.log != nullptr) {
        parts_.log->warning("over budget",
                            {{"request_id", operation.request_id().to_string()},
                             {"caller", operation.caller().id},
                             {"limit", limit},
                             {"not_logged_before", static_cast<std::int64_t>(*left_out)}});
    }
    const auto suspension = tiers().suspension();
    std::uint64_t overruns = 0;
    if (suspension) {
        const std::lock_guard lock(state.mutex);
        if (now < state.overruns_since || now - state.overruns_since > suspension->within) {
            state.overruns_since = now;
            state.overruns = 0;
        }
        overruns = ++state.overruns;
    }
    if (suspension && overruns >= suspension->overruns) {
        suspend({operation.caller().id, now, limit, overruns});
    }
    throw Error("the caller is over its budget: " + limit,
                base::Overrun{limit, refusal.remaining, whole_seconds(refusal.wait)});
}

void Budgets::suspend(const SuspendedCaller& suspended) {
    bool is_new = false;
    try {
        is_new = store_.suspend(suspended);
    } catch (const Error& error) {
        throw Error(ErrorCode::quota_check_failed, "the caller's budget can't be checked",
                    error.what());
    }
    {
        const std::lock_guard lock(suspended_mutex_);
        suspended_.insert(suspended.caller);
    }
    if (!is_new) return;
    count("callers_suspended");
    try {
        parts_.record("suspend_caller", {{"caller", suspended.caller},
                                         {"limit", suspended.limit},
                                         {"overruns", std::to_string(suspended.overruns)}});
    } catch (const Error& error) {
        if (parts_.log == nullptr) return;
        parts_.log->error("a suspension could not be recorded",
                          {{"caller", suspended.caller}, {"reason", error.what()}});
    }
}

std::vector<SuspendedCaller> Budgets::suspended() { return store_.suspended(); }

bool Budgets::lift(const std::string& caller) {
    const bool lifted = store_.lift(caller);
    {
        const std::lock_guard lock(suspended_mutex_);
        suspended_.erase(caller);
    }
    const std::lock_guard lock(states_mutex_);
    const auto state = states_.find(caller);
    if (state != states_.end()) {
        const std::lock_guard state_lock(state->second->mutex);
        state->second->overruns = 0;
    }
    return lifted;
}

// What this node holds in reserve of a counter, and has not used.
std::uint64_t Budgets::unused_of(const CallerState& state, const StoredUsage& stored, Window window,
                                 bool items) {
    const auto limit = state.limits.find(stored.limit);
    if (limit == state.limits.end()) return 0;
    const Reserve* reserve = nullptr;
    if (items) {
        const auto quota = limit->second.quotas.find(window);
        if (quota != limit->second.quotas.end()) reserve = &quota->second;
    } else if (limit->second.records) {
        reserve = &limit->second.records->reserve;
    }
    return reserve != nullptr && reserve->begin == stored.begin ? reserve->left : 0;
}

std::vector<QuotaUsage> Budgets::usage(const std::string& caller) {
    std::shared_ptr<CallerState> state;
    {
        const std::lock_guard lock(states_mutex_);
        const auto found = states_.find(caller);
        if (found != states_.end()) state = found->second;
    }
    const unsigned anchor_day = tiers().anchor_day();
    std::vector<QuotaUsage> all;
    std::unique_lock<std::mutex> lock;
    if (state) lock = std::unique_lock(state->mutex);
    for (const StoredUsage& stored : store_.usage(caller)) {
        for (const Window window : {Window::hour, Window::day, Window::month}) {
            const bool items = stored.counted == counted_items(window);
            if (!items && stored.counted != counted_records(window)) continue;
            QuotaUsage usage{stored.limit, stored.counted,
                             period_of(window, stored.begin, anchor_day), stored.used};
            const std::uint64_t unused = state ? unused_of(*state, stored, window, items) : 0;
            usage.used -= std::min(usage.used, unused);
            all.push_back(std::move(usage));
        }
    }
    return all;
}

std::unique_ptr<Budgets> open_budgets(const std::filesystem::path& file,
                                      const std::vector<std::string_view>& known_actions,
                                      BudgetParts parts) {
    if (file.empty()) return nullptr;
    return std::make_unique<Budgets>(load_budgets(file, known_actions), std::move(parts));
}

void Budgets::check() { static_cast<void>(store_.suspended()); }

}  // namespace server
