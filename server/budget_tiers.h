// The file of budgets: named tiers of limits, and who has which. Format:
// policies/budgets.schema.json; policies/budgets.json is an example.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/budget_bucket.h"
#include "server/budget_period.h"
#include "server/operation.h"
#include "server/policy_words.h"

namespace server {

// How many different records a caller may open in a period.
struct RecordLimit {
    Window window = Window::day;
    std::uint64_t limit = 0;
};

// One limit; its actions are counted together.
struct Limit {
    std::string id;  // unique in its tier; counters keep it when a caller changes tiers
    bool any_action = false;
    std::vector<std::string> actions;
    std::optional<Rate> rate;
    std::optional<std::uint64_t> concurrent;  // operations at the same time
    std::map<Window, std::uint64_t> quotas;   // items in a period
    std::optional<RecordLimit> records;

    bool covers(std::string_view action) const;
};

struct Tier {
    std::string name;
    std::vector<Limit> limits;
};

// So many refusals within so long suspend a caller.
struct Suspension {
    std::uint64_t overruns = 0;
    std::chrono::seconds within{0};
};

// Immutable; thread-safe.
class BudgetTiers {
public:
    struct File;  // as parsed, with its index
    explicit BudgetTiers(std::shared_ptr<const File> file) : file_(std::move(file)) {}

    // The tier of the first binding that fits, else the default one; null: no limits.
    const Tier* tier_of(const Caller& caller) const;
    unsigned anchor_day() const;
    const std::optional<Suspension>& suspension() const;
    // SHA-256 of the file's bytes, hex.
    const std::string& hash() const;

private:
    std::shared_ptr<const File> file_;
};

// Whole or not at all. Actions are those of `words`. Throws invalid_argument naming the field
// (and the file).
BudgetTiers parse_budgets(std::string_view text, const PolicyWords& words);
BudgetTiers load_budgets(const std::filesystem::path& file, const PolicyWords& words);

}  // namespace server
