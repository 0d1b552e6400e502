// One operation's charge against the limits of its caller, and what a node keeps of a caller for
// it. Private to server/budget*.cpp: who may, when a caller is suspended, and what is told of it is
// server/budget; how counters are kept is server/budget_store.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "server/budget.h"
#include "server/budget_bucket.h"
#include "server/digest.h"

namespace server {

// What a quota, or a budget of records, is called where it is counted.
std::string counted_items(Window window);
std::string counted_records(Window window);

// The reserve that this node has of one quota.
struct Reserve {
    CounterName name;
    Window window = Window::day;
    std::optional<base::Time> begin;  // of the period it is from
    std::uint64_t left = 0;
    // When the database last had less than was wanted, and of which quota.
    std::optional<base::Time> used_up;
    std::uint64_t used_up_quota = 0;
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

struct Overruns {
    std::uint64_t pending = 0;  // not in the database yet
    base::Time first{};         // of those
    std::uint64_t counted = 0;  // by all nodes, when they were last written down
    base::Time since{};         // of those
    base::Time lift{};          // the caller's last one that this node knows of; or none
    base::Time first_lift{};    // the same, when the first of `pending` was
};

struct Budgets::CallerState {
    std::mutex mutex;  // of all that follows
    std::map<std::string, LimitState, std::less<>> limits;
    Overruns overruns;
    base::Time used_at{};
    Sha256 digest;

    // What an operation opens: the first 64 bits of the hash of each.
    std::vector<std::int64_t> records_of(const Operation& operation, const Resource& resource,
                                         const std::map<std::string, std::string>& context);

private:
    std::int64_t short_hash(std::string_view text);
};

// Why an operation is too much.
struct Budgets::Refusal {
    std::string limit;
    std::string window;
    std::uint64_t remaining = 0;
    std::chrono::milliseconds wait{0};
};

// Under the caller's lock: first everything is looked at and reserved, then all of it is taken.
// What is looked at throws what BudgetStore throws; then nothing was taken.
class Budgets::Charge {
public:
    Charge(BudgetStore& store, CallerState& state, unsigned anchor_day, base::Time now)
        : store_(store), state_(state), anchor_day_(anchor_day), now_(now) {}

    void name_caller(const std::string& caller) { caller_ = caller; }
    void look_at_work(const Limit& limit, std::uint64_t items);
    void look_at_records(const Limit& limit, const std::vector<std::int64_t>& names);

    // Of several refusals the one that lasts longest; empty when the operation may go on.
    const std::optional<Refusal>& refusal() const { return refusal_; }

    // The limits that hold a place of concurrency now.
    std::vector<std::string> take();

private:
    struct Work {
        const Limit* limit;
        LimitState* state;
        std::uint64_t items;
    };

    CounterName name_of(const std::string& limit, std::string counted) const;
    void refuse(const Limit& limit, std::string_view window, std::uint64_t remaining,
                std::chrono::milliseconds wait);
    Period period(Window window) const;
    bool roll(Reserve& reserve) const;
    // Reserves more, and writes down `opened`; false when it did neither, having been told a moment
    // ago that there is no more.
    bool fill(Reserve& reserve, const std::string& limit_id, std::uint64_t items,
              std::uint64_t quota, std::span<const std::int64_t> opened);
    void load(OpenedRecords& records);
    std::vector<std::int64_t> unopened(OpenedRecords& records,
                                       const std::vector<std::int64_t>& names);
    std::chrono::milliseconds until_next(const Reserve& reserve) const;

    BudgetStore& store_;
    CallerState& state_;
    unsigned anchor_day_;
    base::Time now_;
    std::string caller_;
    std::vector<Work> work_;
    std::vector<std::pair<OpenedRecords*, std::vector<std::int64_t>>> records_;
    std::optional<Refusal> refusal_;
};

}  // namespace server
