// What a daemon reads anew while it runs (policy, certificates, revocation lists …), as a list of
// named steps. The steps are their rooms' and the program's; here is only when and how they run.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "server/audit.h"
#include "server/authorizer.h"
#include "server/budget.h"
#include "server/policy.h"

namespace server {

struct ReloadStep {
    std::string name;  // "policy", "certificates": stands in the log and in the audit record
    // Files whose change alone calls for this step; when empty only a signal does.
    std::vector<std::filesystem::path> watched;
    // Reads anew and puts in force, whole or not at all: when it throws, what was in force still
    // is. Returns what the audit record is to say of the new state; no secret. It runs on the
    // program's main thread, which then hears no signal, so all it waits for must be bounded.
    std::function<std::map<std::string, std::string>()> run;
};

// The step "policy", which puts the policy of `files` in force and its shadow policy beside it; its
// record says the old hash and the new. `authorizer` must outlive the step.
ReloadStep policy_step(Authorizer& authorizer, PolicyFiles files, PolicyWords words);

// The step "budgets", which puts the tiers of `file` in force; its record says the old hash and the
// new. `budgets` must outlive the step; where there are none the step does nothing.
ReloadStep budgets_step(Budgets* budgets, std::filesystem::path file, PolicyWords words);

// Runs the steps and records them: an event "reload" with the cause before the first, and a
// "reload_step" for each with its outcome, "done" or "refused" and why. While the first can't be
// recorded nothing is read anew. For the program's main thread; `audit` and `log` must outlive it.
class Reloader {
public:
    Reloader(std::vector<ReloadStep> steps, AuditLog& audit, base::Log& log);

    // Every step in order; one that fails does not keep the next from running. True when all held.
    bool run_all(std::string_view cause);

    // Those steps of which a watched file is another than when the step last ran. A file counts as
    // another once two calls in a row found it so: what is still being written is left alone. True
    // when nothing failed.
    bool run_changed();

private:
    // What tells one content of a file from another: device, inode, size and times; empty when
    // there is no such file.
    using Stamps = std::vector<std::string>;
    struct Watch {
        Stamps loaded;  // when the step last ran
        Stamps seen;    // at the last look
    };

    bool run(const std::vector<std::size_t>& which, std::string_view cause);
    bool run_step(const ReloadStep& step);
    void record(std::string_view action, const std::map<std::string, std::string>& facts);

    std::vector<ReloadStep> steps_;
    std::vector<Watch> watches_;  // of the step at the same place
    AuditLog& audit_;
    base::Log& log_;
};

}  // namespace server
