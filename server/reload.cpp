#include "server/reload.h"

#include <sys/stat.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.h"

namespace server {
namespace {

std::string stamp_of(const std::filesystem::path& file) {
    struct stat status {};
    if (::stat(file.c_str(), &status) != 0) return {};
    std::string stamp;
    for (const auto part :
         {static_cast<std::int64_t>(status.st_dev), static_cast<std::int64_t>(status.st_ino),
          static_cast<std::int64_t>(status.st_size), status.st_mtim.tv_sec, status.st_mtim.tv_nsec,
          status.st_ctim.tv_sec, status.st_ctim.tv_nsec}) {
        stamp += std::to_string(part) + " ";
    }
    return stamp;
}

std::vector<std::string> stamps_of(const ReloadStep& step) {
    std::vector<std::string> stamps;
    stamps.reserve(step.watched.size());
    for (const auto& file : step.watched) stamps.push_back(stamp_of(file));
    return stamps;
}

}  // namespace

ReloadStep policy_step(Authorizer& authorizer, PolicyFiles files, PolicyWords words) {
    return {"policy", {}, [&authorizer, files = std::move(files), words = std::move(words)] {
                std::map<std::string, std::string> facts{
                    {"policy_hash_before", authorizer.policy_hash()}};
                auto policy = load_policy(files.file, words);
                auto shadow = load_shadow(files, words);
                authorizer.replace(std::move(policy), std::move(shadow));
                facts["policy_hash"] = authorizer.policy_hash();
                const std::string shadow_hash = authorizer.shadow_hash();
                if (!shadow_hash.empty()) facts["shadow_policy_hash"] = shadow_hash;
                return facts;
            }};
}

ReloadStep budgets_step(Budgets* budgets, std::filesystem::path file, PolicyWords words) {
    return {"budgets", {}, [budgets, file = std::move(file), words = std::move(words)] {
                std::map<std::string, std::string> facts;
                if (budgets == nullptr) return facts;
                facts["budgets_hash_before"] = budgets->hash();
                budgets->replace(load_budgets(file, words));
                facts["budgets_hash"] = budgets->hash();
                return facts;
            }};
}

Reloader::Reloader(std::vector<ReloadStep> steps, AuditLog& audit, base::Log& log)
    : steps_(std::move(steps)), audit_(audit), log_(log) {
    for (const auto& step : steps_) {
        const Stamps now = stamps_of(step);
        watches_.push_back({now, now});
    }
}

bool Reloader::run_all(std::string_view cause) {
    std::vector<std::size_t> all(steps_.size());
    std::iota(all.begin(), all.end(), 0);
    return run(all, cause);
}

bool Reloader::run_changed() {
    std::vector<std::size_t> changed;
    for (std::size_t i = 0; i < steps_.size(); ++i) {
        if (steps_[i].watched.empty()) continue;
        Stamps now = stamps_of(steps_[i]);
        Watch& watch = watches_[i];
        if (now != watch.loaded && now == watch.seen) changed.push_back(i);
        watch.seen = std::move(now);
    }
    return changed.empty() || run(changed, "files changed");
}

bool Reloader::run(const std::vector<std::size_t>& which, std::string_view cause) {
    std::string names;
    for (const auto i : which) names += (names.empty() ? "" : " ") + steps_[i].name;
    try {
        audit_.event("reload", {{"cause", std::string(cause)}, {"steps", names}});
    } catch (const std::exception& error) {  // also too little memory
        log_.error("nothing was reloaded: it could not be recorded", {{"reason", error.what()}});
        return false;
    }
    bool all_held = true;
    for (const auto i : which) {
        // Taken before the step reads: what changes meanwhile is seen at the next look.
        watches_[i].loaded = stamps_of(steps_[i]);
        all_held = run_step(steps_[i]) && all_held;
    }
    return all_held;
}

bool Reloader::run_step(const ReloadStep& step) {
    std::string reason;
    try {
        std::map<std::string, std::string> facts = step.run();
        facts.insert_or_assign("step", step.name);
        facts.insert_or_assign("outcome", "done");
        log_.info("reloaded", {{"step", step.name}});
        record("reload_step", facts);
        return true;
    } catch (const base::Error& error) {
        reason = error.message();
        log_.error("not reloaded, the old one stays in force",
                   {{"step", step.name}, {"reason", error.what()}});
    } catch (const std::exception& error) {
        reason = "an unexpected error";
        log_.error("not reloaded, the old one stays in force",
                   {{"step", step.name}, {"reason", error.what()}});
    } catch (...) {
        reason = "an unexpected error";
        log_.error("not reloaded, the old one stays in force",
                   {{"step", step.name}, {"reason", reason}});
    }
    record("reload_step", {{"step", step.name}, {"outcome", "refused"}, {"reason", reason}});
    return false;
}

// What was done stays done when it can't be recorded; the "reload" event before it stands.
void Reloader::record(std::string_view action, const std::map<std::string, std::string>& facts) {
    try {
        audit_.event(action, facts);
    } catch (const std::exception& error) {
        log_.error("a reload's outcome could not be recorded", {{"reason", error.what()}});
    }
}

}  // namespace server
