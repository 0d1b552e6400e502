#include "server/budget_tiers.h"

#include <algorithm>
#include <set>

#include "base/file.h"
#include "base/json.h"
#include "server/digest.h"
#include "server/policy_index.h"
#include "server/policy_rules.h"

namespace server {

struct BudgetTiers::File {
    std::vector<Tier> tiers;
    std::vector<Binding> bindings;  // `roles` holds the place of the one tier
    BindingIndex index;
    std::optional<std::size_t> otherwise;
    unsigned anchor_day = 1;
    std::optional<Suspension> suspension;
    std::string hash;
};

namespace {

using base::JsonReader;

constexpr std::size_t max_budget_bytes = 4UL * 1024 * 1024;
constexpr std::size_t max_limits = 100;
constexpr std::size_t max_budget_bindings = 100'000;
constexpr std::size_t max_word_bytes = 64;
constexpr std::int64_t max_quota = 1'000'000'000'000;
// Each record of a period takes about 40 bytes of memory for each caller who comes near.
constexpr std::int64_t max_record_limit = 1'000'000;
constexpr std::int64_t max_rate = 1'000'000;

std::string read_word(JsonReader& reader, std::string_view name) {
    const auto word = reader.required_string(name, max_word_bytes);
    if (!std::all_of(word.begin(), word.end(), [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        })) {
        reader.refuse(name, "must be of a-z, 0-9, '-' and '_'");
    }
    return std::string(word);
}

std::uint64_t read_count(JsonReader& reader, std::string_view name, std::int64_t max) {
    return static_cast<std::uint64_t>(reader.required_integer(name, 1, max));
}

class BudgetParser {
public:
    explicit BudgetParser(const PolicyWords& words) : words_(words) {}

    std::shared_ptr<BudgetTiers::File> parse(const base::JsonValue& document) {
        JsonReader top(document);
        top.required_integer("version", 1, 1);
        if (const auto day = top.optional_integer("billing_anchor_day", 1, max_anchor_day)) {
            file_->anchor_day = static_cast<unsigned>(*day);
        }
        if (auto reader = top.optional_object("suspension")) {
            Suspension suspension;
            suspension.overruns = read_count(*reader, "overruns", 1'000'000);
            suspension.within =
                std::chrono::seconds(reader->required_integer("within_seconds", 1, 86'400));
            reader->refuse_unknown();
            file_->suspension = suspension;
        }
        read_tiers(top);
        read_bindings(top);
        if (top.has("default")) {
            file_->otherwise = place_of(top, "default", read_word(top, "default"));
        }
        top.refuse_unknown();
        return std::move(file_);
    }

private:
    void read_tiers(JsonReader& top) {
        JsonReader tiers = top.required_object("tiers");
        for (const auto& member : tiers.members()) {
            Tier tier;
            tier.name = member.name;
            std::set<std::string> ids;
            const auto& limits = tiers.required_array(member.name, max_limits, 0);
            for (std::size_t i = 0; i < limits.size(); ++i) {
                JsonReader reader(limits[i], tiers.item_path(member.name, i));
                tier.limits.push_back(read_limit(reader));
                if (!ids.insert(tier.limits.back().id).second) {
                    reader.refuse("id", "stands twice in the tier");
                }
            }
            file_->tiers.push_back(std::move(tier));
        }
    }

    Limit read_limit(JsonReader& reader) const {
        Limit limit;
        limit.id = read_word(reader, "id");
        limit.actions = reader.optional_string_array("actions", max_limits, max_word_bytes);
        if (limit.actions.empty()) reader.refuse("actions", "must name at least one action");
        for (const auto& word : limit.actions) {
            limit.any_action = limit.any_action || word == "*";
            if (word != "*" && !words_.knows(word)) {
                reader.refuse("actions", "holds an unknown action \"" + word + "\"");
            }
        }
        if (auto rate = reader.optional_object("rate")) {
            limit.rate = Rate{static_cast<double>(read_count(*rate, "per_second", max_rate)),
                              static_cast<double>(read_count(*rate, "burst", max_rate))};
            rate->refuse_unknown();
        }
        if (reader.has("concurrent")) {
            limit.concurrent = read_count(reader, "concurrent", max_rate);
        }
        if (auto quota = reader.optional_object("quota")) read_quotas(*quota, limit);
        if (auto records = reader.optional_object("records")) {
            RecordLimit record_limit;
            record_limit.window = read_window(*records, "per");
            record_limit.limit = read_count(*records, "limit", max_record_limit);
            records->refuse_unknown();
            limit.records = record_limit;
        }
        if (!limit.rate && !limit.concurrent && limit.quotas.empty() && !limit.records) {
            reader.refuse("id",
                          R"(limits nothing: give "rate", "concurrent", "quota" or "records")");
        }
        reader.refuse_unknown();
        return limit;
    }

    static void read_quotas(JsonReader& quota, Limit& limit) {
        for (const Window window : {Window::hour, Window::day, Window::month}) {
            const auto items = quota.optional_integer(to_string(window), 1, max_quota);
            if (items) limit.quotas[window] = static_cast<std::uint64_t>(*items);
        }
        quota.refuse_unknown();
    }

    static Window read_window(JsonReader& reader, std::string_view name) {
        const auto word = reader.required_string(name, max_word_bytes);
        for (const Window window : {Window::hour, Window::day, Window::month}) {
            if (word == to_string(window)) return window;
        }
        reader.refuse(name, R"(must be "hour", "day" or "month")");
    }

    std::size_t place_of(const JsonReader& reader, std::string_view field,
                         const std::string& name) const {
        for (std::size_t i = 0; i < file_->tiers.size(); ++i) {
            if (file_->tiers[i].name == name) return i;
        }
        reader.refuse(field, "names an unknown tier \"" + name + "\"");
    }

    void read_bindings(JsonReader& top) {
        const auto& items = top.required_array("bindings", max_budget_bindings, 0);
        file_->bindings.reserve(items.size());
        for (std::size_t i = 0; i < items.size(); ++i) {
            JsonReader reader(items[i], top.item_path("bindings", i));
            Binding binding;
            read_bound(reader, binding);
            binding.roles.push_back(place_of(reader, "tier", read_word(reader, "tier")));
            reader.refuse_unknown();
            file_->bindings.push_back(std::move(binding));
            file_->index.add(file_->bindings.back(), i);
        }
    }

    const PolicyWords& words_;
    std::shared_ptr<BudgetTiers::File> file_ = std::make_shared<BudgetTiers::File>();
};

}  // namespace

bool Limit::covers(std::string_view action) const {
    return any_action || std::find(actions.begin(), actions.end(), action) != actions.end();
}

const Tier* BudgetTiers::tier_of(const Caller& caller) const {
    std::size_t first = file_->bindings.size();
    file_->index.visit(caller, [&](std::size_t place) {
        if (place < first && file_->bindings[place].fits(caller)) first = place;
    });
    if (first < file_->bindings.size()) {
        return &file_->tiers[file_->bindings[first].roles.front()];
    }
    return file_->otherwise ? &file_->tiers[*file_->otherwise] : nullptr;
}

unsigned BudgetTiers::anchor_day() const { return file_->anchor_day; }

const std::optional<Suspension>& BudgetTiers::suspension() const { return file_->suspension; }

const std::string& BudgetTiers::hash() const { return file_->hash; }

BudgetTiers parse_budgets(std::string_view text, const PolicyWords& words) {
    base::JsonLimits limits;
    limits.bytes = max_budget_bytes;
    limits.comments = true;
    auto file = BudgetParser(words).parse(base::parse_json(text, limits));
    file->hash = Sha256().hex(text);
    return BudgetTiers(std::move(file));
}

BudgetTiers load_budgets(const std::filesystem::path& file, const PolicyWords& words) {
    const std::string text = base::read_trusted_file(file, max_budget_bytes);
    try {
        return parse_budgets(text, words);
    } catch (const base::Error& error) {
        if (error.code() != base::ErrorCode::invalid_argument) throw;
        throw base::Error(base::ErrorCode::invalid_argument,
                          file.string() + ": " + error.message());
    }
}

}  // namespace server
