#include "server/budget.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "server/budget_charge.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;

// Other nodes' suspensions and liftings are seen after so long.
constexpr std::chrono::seconds suspension_age{1};
// Overruns are written down when they are a part of what suspends: so many writes suspend a caller,
// however many overruns the rule asks for.
constexpr std::uint64_t overrun_blocks = 16;
// How long one node has the recording of a suspension for itself. An audit log says much sooner
// whether a record stands; a node that was killed in between holds the recording up for so long.
constexpr std::chrono::seconds recording_lease{30};
// Callers whose counters are kept in memory; beyond it idle ones are forgotten, with what they had
// reserved.
constexpr std::size_t max_states = 50'000;
constexpr std::chrono::minutes idle_state{10};
constexpr double budget_lines_per_second = 10;
constexpr double budget_lines_at_once = 50;

std::chrono::seconds whole_seconds(std::chrono::milliseconds time) {
    return std::max(std::chrono::ceil<std::chrono::seconds>(time), std::chrono::seconds(1));
}

}  // namespace

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
    for (const SuspendedCaller& each : read_suspended(now)) try_to_record(each, now);
    const std::lock_guard lock(suspended_mutex_);
    const auto found = suspended_.find(caller);
    if (found == suspended_.end()) return;
    if (!found->second.recorded) {  // the caller does not hear of it before
        throw Error(ErrorCode::unavailable, "a suspension is not in the audit log yet");
    }
    throw Error(ErrorCode::caller_suspended,
                "the caller is suspended for repeated overruns until an operator lifts it");
}

std::vector<SuspendedCaller> Budgets::read_suspended(base::Time now) {
    std::vector<SuspendedCaller> unrecorded;
    const std::lock_guard lock(suspended_mutex_);
    if (suspended_read_ && now >= *suspended_read_ && now - *suspended_read_ < suspension_age)
        return unrecorded;
    std::map<std::string, SuspendedCaller, std::less<>> read;
    std::set<std::string> unmarked;
    for (auto& each : store_.suspended()) {
        const bool is_ours = unmarked_.contains(each.recorder);
        if (is_ours) unmarked.insert(each.recorder);
        const bool is_free = each.recorder.empty() || is_ours ||
                             std::chrono::abs(now - each.claimed) >= recording_lease;
        if (!each.recorded && is_free) unrecorded.push_back(each);
        const std::string name = each.caller;
        read.emplace(name, std::move(each));
    }
    suspended_ = std::move(read);
    suspended_read_ = now;
    unmarked_ = std::move(unmarked);
    return unrecorded;
}

void Budgets::record_suspension(const SuspendedCaller& suspended) {
    try {
        parts_.record("suspend_caller", {{"caller", suspended.caller},
                                         {"limit", suspended.limit},
                                         {"overruns", std::to_string(suspended.overruns)}});
    } catch (...) {
        store_.give_up_recording(suspended.caller, suspended.recorder);  // any node's turn
        throw;
    }
    {
        const std::lock_guard lock(suspended_mutex_);
        unmarked_.insert(suspended.recorder);
    }
    mark_recorded(suspended);
}

void Budgets::mark_recorded(const SuspendedCaller& suspended) {
    store_.mark_recorded(suspended.caller, suspended.recorder);
    const std::lock_guard lock(suspended_mutex_);
    unmarked_.erase(suspended.recorder);
    const auto kept = suspended_.find(suspended.caller);
    if (kept != suspended_.end() && kept->second.since == suspended.since)
        kept->second.recorded = true;
}

void Budgets::try_to_record(const SuspendedCaller& as_read, base::Time now) {
    try {
        bool is_written = false;
        {
            const std::lock_guard lock(suspended_mutex_);
            is_written = unmarked_.contains(as_read.recorder);
        }
        if (is_written) return mark_recorded(as_read);
        SuspendedCaller claimed = as_read;
        claimed.recorder = base::Uuid::random().to_string();
        if (store_.claim_recording(as_read, claimed.recorder, now)) record_suspension(claimed);
    } catch (const Error& error) {
        not_recorded(as_read, error);
    }
}

void Budgets::not_recorded(const SuspendedCaller& suspended, const Error& error) {
    if (parts_.log == nullptr) return;
    parts_.log->error("a suspension could not be recorded yet",
                      {{"caller", suspended.caller}, {"reason", error.what()}});
}

void Budgets::charge(Operation& operation, Action action, const Resource& resource,
                     const std::map<std::string, std::string>& context) {
    if (operation.user()) charge_to(*operation.user(), operation, action, resource, context);
    charge_to(operation.caller(), operation, action, resource, context);
}

void Budgets::charge_to(const Caller& who, Operation& operation, Action action,
                        const Resource& resource,
                        const std::map<std::string, std::string>& context) {
    const base::Time now = parts_.clock.now();
    const std::string& caller = who.id;
    std::shared_ptr<CallerState> state;
    std::optional<Refusal> refusal;
    try {
        refuse_suspended(caller, now);
        const BudgetTiers tiers = this->tiers();
        const Tier* tier = tiers.tier_of(who);
        if (tier == nullptr) return;
        state = state_of(caller, now);
        const std::lock_guard lock(state->mutex);
        Charge charge(store_, *state, tiers.anchor_day(), now);
        charge.name_caller(caller);
        std::vector<std::string> charged;
        for (const Limit& limit : tier->limits) {
            if (!limit.covers(action.word)) continue;
            const bool first = !operation.has_charged(caller, limit.id);
            if (limit.records && (first || operation.records().empty())) {
                charge.look_at_records(limit, state->records_of(operation, resource, context));
            }
            if (!first) continue;
            charge.look_at_work(limit, std::max<std::uint64_t>(operation.work(), 1));
            charged.push_back(limit.id);
        }
        refusal = charge.refusal();
        if (!refusal) {
            for (std::string& id : charged) operation.charged_.emplace_back(caller, std::move(id));
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
    refuse(who, operation, *state, *refusal, now);
}

void Budgets::refuse(const Caller& who, Operation& operation, CallerState& state,
                     const Refusal& refusal, base::Time now) {
    const std::string limit = refusal.limit + " " + refusal.window;
    count("operations_over_budget");
    operation.set_fact("over_budget", limit);
    const auto left_out = lines_.pass(std::chrono::steady_clock::now());
    if (left_out && parts_.log != nullptr) {
        parts_.log->warning("over budget",
                            {{"request_id", operation.request_id().to_string()},
                             {"caller", who.id},
                             {"limit", limit},
                             {"not_logged_before", static_cast<std::int64_t>(*left_out)}});
    }
    if (const auto rule = tiers().suspension()) count_overrun(who.id, limit, state, *rule, now);
    throw Error("the caller is over its budget: " + limit,
                base::Overrun{limit, refusal.remaining, whole_seconds(refusal.wait)});
}

void Budgets::count_overrun(const std::string& caller, const std::string& limit, CallerState& state,
                            const Suspension& rule, base::Time now) {
    const auto overruns = take_due_overruns(caller, limit, state, rule, now);
    if (!overruns) return;
    const std::string recorder = base::Uuid::random().to_string();
    CountedOverruns counted;
    try {
        counted = store_.count_overruns(*overruns, rule, recorder);
    } catch (const Error& error) {
        const std::lock_guard lock(state.mutex);
        state.overruns.pending += overruns->count;
        state.overruns.first = overruns->first;
        state.overruns.first_lift = overruns->lift;
        throw Error(ErrorCode::quota_check_failed, "the caller's budget can't be checked",
                    error.what());
    }
    {
        const std::lock_guard lock(state.mutex);
        state.overruns.counted =
            counted.suspended == CountedOverruns::Suspended::no ? counted.overruns : 0;
        state.overruns.since = counted.since;
        state.overruns.lift = counted.lift;
    }
    if (counted.suspended == CountedOverruns::Suspended::no) return;
    const SuspendedCaller suspended{caller, now, limit, counted.overruns, false, recorder, now};
    {
        const std::lock_guard lock(suspended_mutex_);
        if (counted.suspended == CountedOverruns::Suspended::before) {
            suspended_read_.reset();
            return;
        }
        suspended_.insert_or_assign(caller, suspended);
    }
    count("callers_suspended");
    try {
        record_suspension(suspended);
    } catch (const Error& error) {
        not_recorded(suspended, error);
    }
}

std::optional<NewOverruns> Budgets::take_due_overruns(const std::string& caller,
                                                      const std::string& limit, CallerState& state,
                                                      const Suspension& rule, base::Time now) {
    const std::lock_guard lock(state.mutex);
    Overruns& mine = state.overruns;
    if (mine.pending == 0 || std::chrono::abs(now - mine.first) > rule.within) {
        mine.pending = 0;
        mine.first = now;
        mine.first_lift = mine.lift;
    }
    ++mine.pending;
    const bool is_known = std::chrono::abs(now - mine.since) <= rule.within;
    const std::uint64_t known = is_known ? mine.counted : 0;
    const std::uint64_t block = std::max<std::uint64_t>(1, rule.overruns / overrun_blocks);
    if (mine.pending < block && known + mine.pending < rule.overruns) return std::nullopt;
    return NewOverruns{caller,     limit, std::exchange(mine.pending, 0),
                       mine.first, now,   mine.first_lift};
}

std::vector<SuspendedCaller> Budgets::suspended() { return store_.suspended(); }

bool Budgets::lift(const std::string& caller) {
    const std::optional<base::Time> lifted = store_.lift(caller, parts_.clock.now());
    {
        const std::lock_guard lock(suspended_mutex_);
        suspended_.erase(caller);
    }
    const std::lock_guard lock(states_mutex_);
    const auto state = states_.find(caller);
    if (state != states_.end()) {
        const std::lock_guard state_lock(state->second->mutex);
        Overruns& mine = state->second->overruns;
        mine = Overruns{.lift = lifted.value_or(mine.lift)};
    }
    return lifted.has_value();
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

std::unique_ptr<Budgets> open_budgets(const std::filesystem::path& file, const PolicyWords& words,
                                      BudgetParts parts) {
    if (file.empty()) return nullptr;
    return std::make_unique<Budgets>(load_budgets(file, words), std::move(parts));
}

void Budgets::check() { static_cast<void>(store_.suspended()); }

}  // namespace server
