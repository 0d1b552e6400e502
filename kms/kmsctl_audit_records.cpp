// audit show, export, report: records for people and other programs, from the files alone.
#include <CLI/CLI.hpp>
#include <chrono>
#include <deque>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/table.h"
#include "kms/kmsctl_audit.h"
#include "server/audit_report.h"
#include "server/audit_segments.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::chrono::milliseconds follow_interval{300};

server::AuditFilter filter_of(const AuditOptions& options) {
    server::AuditFilter filter = options.filter;
    if (!options.from.empty()) filter.from = read_audit_time(options.from, "--from");
    if (!options.before.empty()) filter.before = read_audit_time(options.before, "--to");
    return filter;
}

std::string shown_resource(const server::AuditRow& row) {
    if (row.resources.empty()) return {};
    std::string text = row.resources.front();
    if (row.resources.size() > 1) text += " +" + std::to_string(row.resources.size() - 1);
    return text;
}

std::vector<std::string> shown_cells(const server::AuditRow& row) {
    return {std::to_string(row.sequence), row.time,    row.caller, row.action,
            shown_resource(row),          row.outcome, row.error};
}

// New records as they come, until the program is interrupted.
void follow_log(const Tool& tool, const AuditOptions& options, std::uint64_t from) {
    const server::AuditFilter filter = filter_of(options);
    server::AuditLines lines(options.directory, from);
    while (true) {
        std::string_view line;
        while (lines.next(line)) {
            const auto row = server::read_audit_row(line);
            if (!row || !server::wanted(*row, filter)) continue;
            if (tool.json) {
                print(line);
            } else {
                print(base::Table().add(shown_cells(*row)).to_string());
            }
        }
        lines.pause();
        std::this_thread::sleep_for(follow_interval);
    }
}

int show_command(const Tool& tool, const AuditOptions& options) {
    require_log(options.directory);
    const server::AuditFilter filter = filter_of(options);
    std::deque<std::pair<server::AuditRow, std::string>> rows;
    std::uint64_t unreadable = 0;
    std::uint64_t newest = 0;
    server::read_audit_log(
        options.directory, {},
        [&](const server::AuditRow& row, std::string_view line) {
            newest = row.sequence;
            if (!server::wanted(row, filter)) return true;
            if (tool.json && options.last == 0) {
                print(line);
                return true;
            }
            rows.emplace_back(row, tool.json ? std::string(line) : std::string());
            if (options.last > 0 && rows.size() > options.last) rows.pop_front();
            return true;
        },
        unreadable);
    base::Table table({"RECORD", "TIME", "CALLER", "ACTION", "ON", "OUTCOME", "ERROR"});
    for (const auto& [row, line] : rows) {
        if (tool.json) {
            print(line);
        } else {
            table.add(shown_cells(row));
        }
    }
    if (!tool.json) print(table.to_string());
    if (unreadable > 0) {
        throw Error(ErrorCode::integrity_failure,
                    std::to_string(unreadable) + " lines of the log are no records");
    }
    if (options.follow) follow_log(tool, options, newest + 1);
    return 0;
}

int export_command(const AuditOptions& options) {
    require_log(options.directory);
    const bool csv = options.format == "csv";
    if (csv) print(server::audit_csv_heading());
    std::uint64_t unreadable = 0;
    server::read_audit_log(
        options.directory, filter_of(options),
        [csv](const server::AuditRow& row, std::string_view line) {
            print(csv ? server::audit_csv_line(row) : std::string(line));
            return true;
        },
        unreadable);
    if (unreadable > 0) {
        throw Error(ErrorCode::integrity_failure,
                    std::to_string(unreadable) + " lines of the log are no records");
    }
    return 0;
}

int report_command(const AuditOptions& options) {
    require_log(options.directory);
    server::AuditReport report;
    server::AuditReport::Frame frame;
    frame.title = std::filesystem::absolute(options.directory).lexically_normal().string();
    if (!options.from.empty()) frame.period += "from " + options.from;
    if (!options.before.empty()) {
        frame.period += (frame.period.empty() ? "before " : " to ") + options.before;
    }
    frame.made_at = base::to_rfc3339(base::SystemClock().now());
    if (!options.key_file.empty()) {
        AuditOptions all = options;
        all.whole = true;
        frame.finding = verify_log(all);
    }
    server::read_audit_log(
        options.directory, filter_of(options),
        [&report](const server::AuditRow& row, std::string_view) {
            report.add(row);
            return true;
        },
        frame.unreadable);
    const std::string page = report.page(frame);
    if (options.output.empty()) {
        print(page);
    } else {
        base::write_file_durably(options.output, page, 0600);
    }
    return 0;
}

void add_filter(CLI::App& command, AuditOptions& options) {
    command.add_option("--caller", options.filter.caller, "Of this caller; * is anything")
        ->type_name("ID");
    command.add_option("--key", options.filter.key, "On this key or credential; * is anything")
        ->type_name("ID");
    command.add_option("--action", options.filter.action, "This action; * is anything")
        ->type_name("WORD");
    command.add_option("--outcome", options.filter.outcome, "With this outcome or error")
        ->type_name("WORD");
    command.add_option("--from", options.from, "Not before this time or day")->type_name("TIME");
    command.add_option("--to", options.before, "Before this time or day")->type_name("TIME");
}

}  // namespace

void add_audit_record_commands(CLI::App& family, Tool& tool,
                               const std::shared_ptr<AuditOptions>& options) {
    CLI::App* show = add_audit_command(family, "show", "Records, as a table", *options);
    add_filter(*show, *options);
    show->add_option("--last", options->last, "Only the last ones")->type_name("NUMBER");
    show->add_flag("--follow", options->follow, "Go on with new records as they come");
    show->callback([&tool, options] {
        tool.command = [&tool, options] { return show_command(tool, *options); };
    });

    CLI::App* out = add_audit_command(family, "export", "Records, for other programs", *options);
    add_filter(*out, *options);
    out->add_option("--format", options->format, "jsonl: the lines as they are, or csv")
        ->check(CLI::IsMember({"jsonl", "csv"}))
        ->capture_default_str();
    out->callback(
        [&tool, options] { tool.command = [options] { return export_command(*options); }; });

    CLI::App* report =
        add_audit_command(family, "report", "One page for people (HTML, can be printed)", *options);
    add_filter(*report, *options);
    report
        ->add_option("--public-key-file", options->key_file,
                     "The audit key's public half (PEM): the page says whether the log is genuine")
        ->type_name("FILE");
    report->add_option("--output", options->output, "The page's file; otherwise standard output")
        ->type_name("FILE");
    report->callback(
        [&tool, options] { tool.command = [options] { return report_command(*options); }; });
}

}  // namespace kms
