// rewrap: jobs that move all stored credentials to the newest version of the master key.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>

#include "base/error.h"
#include "base/table.h"
#include "vault/vaultctl.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonValue;
using std::chrono::steady_clock;

constexpr const char* jobs_path = "/v1/rewrap-jobs";
constexpr std::chrono::milliseconds look_interval{500};
// A vault that is being restarted is waited for.
constexpr std::chrono::seconds away_patience{60};
constexpr std::size_t failures_shown = 20;

std::int64_t whole_number(const JsonValue& object, std::string_view name) {
    const JsonValue* value = object.find(name);
    return value == nullptr ? 0 : value->integer().value_or(0);
}

const JsonValue& records_of(const JsonValue& job) {
    const JsonValue* records = job.find("records");
    if (records == nullptr) throw Error(ErrorCode::internal, "the vault's answer makes no sense");
    return *records;
}

bool is_over(const JsonValue& job) {
    const std::string state = cell(job, "state");
    return state == "completed" || state == "cancelled";
}

bool is_safe(const JsonValue& job) {
    const JsonValue* statement = job.find("safe_to_retire");
    const JsonValue* safe = statement == nullptr ? nullptr : statement->find("safe");
    return safe != nullptr && safe->boolean() != nullptr && *safe->boolean();
}

std::string duration_text(std::int64_t seconds) {
    if (seconds < 60) return std::to_string(seconds) + " s";
    if (seconds < 3600) return std::to_string(seconds / 60) + " min";
    return std::to_string(seconds / 3600) + " h " + std::to_string(seconds % 3600 / 60) + " min";
}

// One line that is written over; on a terminal only, since scripts want none.
class RewrapBar {
public:
    RewrapBar() : wanted_(::isatty(STDERR_FILENO) == 1) {}
    ~RewrapBar() {
        if (shown_) static_cast<void>(std::fputs("\r\x1B[K", stderr));
    }
    RewrapBar(const RewrapBar&) = delete;
    RewrapBar& operator=(const RewrapBar&) = delete;

    void show(const JsonValue& job) {
        if (!wanted_) return;
        shown_ = true;
        const std::string line = "\r\x1B[K" + text(job);
        static_cast<void>(std::fputs(line.c_str(), stderr));
        static_cast<void>(std::fflush(stderr));
    }

private:
    static std::string text(const JsonValue& job) {
        constexpr std::int64_t width = 30;
        const JsonValue& records = records_of(job);
        const std::int64_t total = whole_number(records, "total");
        const std::int64_t settled = total - std::min(total, whole_number(records, "left"));
        const std::int64_t filled = total == 0 ? width : settled * width / total;
        std::string line = "[" + std::string(static_cast<std::size_t>(filled), '#') +
                           std::string(static_cast<std::size_t>(width - filled), '.') + "] " +
                           std::to_string(total == 0 ? 100 : settled * 100 / total) + " %  " +
                           cell(records, "done") + " done, " + cell(records, "left") + " left";
        if (whole_number(records, "failed") > 0) line += ", " + cell(records, "failed") + " failed";
        line += ", " + cell(job, "rate") + "/s";
        if (job.find("seconds_left") != nullptr)
            line += ", " + duration_text(whole_number(job, "seconds_left")) + " left";
        const std::string trouble = cell(job, "trouble");
        if (!trouble.empty()) line += "  (" + base::printable(trouble) + ")";
        return line;
    }

    bool wanted_;
    bool shown_ = false;
};

std::string job_path(const std::string& id) {
    return std::string(jobs_path) + "/" + kms::path_segment(id);
}

void show_failures(const Tool& tool, const JsonValue& job) {
    const std::int64_t failed = whole_number(records_of(job), "failed");
    if (failed == 0) return;
    const std::string id = cell(job, "id");
    const JsonValue page = tool.client().call(
        "GET", job_path(id) + "/failures?limit=" + std::to_string(failures_shown), {});
    base::Table table({"OWNER", "NAME", "VERSION", "REASON"});
    base::JsonReader reader(page);
    for (const JsonValue& one : reader.required_array("failures", failures_shown, 0)) {
        table.add(
            {cell(one, "owner"), cell(one, "name"), cell(one, "version"), cell(one, "reason")});
    }
    print("\nNot moved:\n" + table.to_string());
    if (static_cast<std::size_t>(failed) > failures_shown)
        print("All of them: vaultctl rewrap failures " + id);
}

std::string statement_text(const JsonValue& job) {
    const JsonValue* found = job.find("safe_to_retire");
    if (found == nullptr) return "No statement: the job did not run to its end.";
    const std::string key =
        "version " + cell(*found, "versions_below") + " of key " + cell(*found, "key_id");
    if (is_safe(job)) {
        return "Safe to retire: no stored credential needs a version older than " + key +
               ", or another key. It stands in the audit log.\nValues that applications keep "
               "themselves, and backups, are not counted.";
    }
    if (cell(*found, "uncounted_copies") == "yes" && cell(*found, "remaining") == "0" &&
        cell(*found, "differing") == "0") {
        return "NOT safe to retire: no credential in the store needs a version older than " + key +
               ", but reveals open the copies in Directus, which a job neither moves nor counts: "
               "each is under the key version of its last store.";
    }
    return "NOT safe to retire: " + cell(*found, "remaining") +
           " stored version(s) still need a version older than " + key + ", or another key; " +
           cell(*found, "differing") +
           " more have a text that does not name the key which their row in the database does.";
}

void show_job(const Tool& tool, const JsonValue& job) {
    if (tool.json) return print(base::to_json(job));
    base::Table table;
    for (const char* name :
         {"id", "state", "key_id", "key_version", "pass", "records_per_second", "rate",
          "seconds_left", "trouble", "created_by", "created_at", "finished_at"}) {
        table.add({name, cell(job, name)});
    }
    for (const char* name : {"total", "done", "failed", "superseded", "left"})
        table.add({name, cell(records_of(job), name)});
    print(table.to_string());
    if (is_over(job)) print(statement_text(job));
}

JsonValue look(const Tool& tool, const std::string& path) {
    const auto give_up = steady_clock::now() + away_patience;
    for (;;) {
        try {
            return tool.client().call("GET", path, {});
        } catch (const Error& error) {
            if (error.code() != ErrorCode::unavailable || steady_clock::now() >= give_up) throw;
        }
        std::this_thread::sleep_for(look_interval);
    }
}

int watch(const Tool& tool, const std::string& id) {
    JsonValue job = look(tool, job_path(id));
    {
        RewrapBar bar;
        while (!is_over(job)) {
            bar.show(job);
            std::this_thread::sleep_for(look_interval);
            job = look(tool, job_path(id));
        }
    }
    show_job(tool, job);
    if (!tool.json) show_failures(tool, job);
    return is_safe(job) ? 0 : kms::exit_failed;
}

// The newest job of all.
std::string newest_job(const Tool& tool) {
    const JsonValue page = tool.client().call("GET", std::string(jobs_path) + "?limit=1", {});
    base::JsonReader reader(page);
    const auto& jobs = reader.required_array("jobs", 1, 0);
    if (jobs.empty()) throw Error(ErrorCode::not_found, "there is no rewrap job");
    return cell(jobs.front(), "id");
}

struct StartOptions {
    std::uint64_t rate = 0;
    bool no_wait = false;
};

int start(const Tool& tool, const StartOptions& options) {
    base::JsonWriter body;
    body.begin_object();
    if (options.rate > 0) body.field("records_per_second", options.rate);
    body.end_object();
    const JsonValue job = tool.client().call("POST", jobs_path, body.text());
    if (options.no_wait) {
        show_job(tool, job);
        return 0;
    }
    if (!tool.json) explain("job " + cell(job, "id") + " goes on also without this command");
    return watch(tool, cell(job, "id"));
}

int list_jobs(const Tool& tool) {
    const auto jobs = kms::fetch_pages(tool.client(), jobs_path, "jobs");
    if (tool.json) {
        base::JsonWriter out;
        out.begin_array();
        for (const JsonValue& job : jobs) out.value(job);
        out.end_array();
        print(out.text());
        return 0;
    }
    base::Table table({"ID", "STATE", "CREATED", "VERSION", "DONE", "FAILED", "LEFT", "SAFE"});
    for (const JsonValue& job : jobs) {
        const JsonValue& records = records_of(job);
        table.add({cell(job, "id"), cell(job, "state"), cell(job, "created_at"),
                   cell(job, "key_version"), cell(records, "done"), cell(records, "failed"),
                   cell(records, "left"), is_safe(job) ? "yes" : "no"});
    }
    print(table.to_string());
    return 0;
}

int list_failures(const Tool& tool, const std::string& id) {
    const auto failures = kms::fetch_pages(tool.client(), job_path(id) + "/failures", "failures");
    base::JsonWriter out;
    out.begin_array();
    base::Table table({"OWNER", "NAME", "VERSION", "REASON", "AT"});
    for (const JsonValue& one : failures) {
        out.value(one);
        table.add({cell(one, "owner"), cell(one, "name"), cell(one, "version"), cell(one, "reason"),
                   cell(one, "at")});
    }
    out.end_array();
    print(tool.json ? std::string(out.text()) : table.to_string());
    return 0;
}

void add_start(CLI::App& rewrap, Tool& tool) {
    auto options = std::make_shared<StartOptions>();
    CLI::App* command = rewrap.add_subcommand(
        "start", "Begin a job and show its progress (exit code 1: not safe to retire)");
    command->add_option("--rate", options->rate, "Records per second at most")
        ->check(CLI::Range(1, 1'000'000))
        ->type_name("N");
    command->add_flag("--no-wait", options->no_wait, "Only begin it");
    command->callback(
        [&tool, options] { tool.command = [&tool, options] { return start(tool, *options); }; });
}

template <typename Run>
void add_job_command(CLI::App& rewrap, Tool& tool, const char* name, const char* what,
                     bool is_required, Run run) {
    auto id = std::make_shared<std::string>();
    CLI::App* command = rewrap.add_subcommand(name, what);
    command->add_option("JOB", *id, is_required ? "Its id" : "Its id; absent: the newest")
        ->required(is_required);
    command->callback([&tool, id, run] {
        tool.command = [&tool, id, run] { return run(tool, id->empty() ? newest_job(tool) : *id); };
    });
}

}  // namespace

void add_rewrap_commands(CLI::App& app, Tool& tool) {
    CLI::App* rewrap = app.add_subcommand(
        "rewrap", "Move all stored credentials to the newest version of the master key");
    rewrap->require_subcommand(1);
    rewrap->fallthrough();
    add_start(*rewrap, tool);
    add_job_command(*rewrap, tool, "watch", "Show a job's progress until it is over", false, watch);
    add_job_command(*rewrap, tool, "show", "A job as it stands", false,
                    [](const Tool& shown, const std::string& id) {
                        show_job(shown, shown.client().call("GET", job_path(id), {}));
                        return 0;
                    });
    add_job_command(*rewrap, tool, "cancel", "End a job; what it moved stays moved", true,
                    [](const Tool& shown, const std::string& id) {
                        show_job(shown, shown.client().call("POST", job_path(id) + "/cancel", {}));
                        return 0;
                    });
    add_job_command(*rewrap, tool, "failures", "What a job could not move", false, list_failures);
    rewrap->add_subcommand("list", "All jobs, newest first")->callback([&tool] {
        tool.command = [&tool] { return list_jobs(tool); };
    });
}

}  // namespace vault
