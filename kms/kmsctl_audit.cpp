// audit verify, prove, receipt, check, show, export, report. They read the files of a log; none but
// receipt needs the service, a token or a network.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <deque>
#include <thread>

#include "base/clock.h"
#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/table.h"
#include "kms/client/connection.h"
#include "kms/kmsctl.h"
#include "server/audit_proof.h"
#include "server/audit_query.h"
#include "server/audit_report.h"
#include "server/audit_segments.h"
#include "server/audit_verify.h"
#include "server/checkpoint_file.h"
#include "server/tiles.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t max_pem_bytes = 64UL * 1024;
constexpr std::size_t max_note_file_bytes = 64UL * 1024;
constexpr std::size_t max_proof_bytes = 1024UL * 1024;
constexpr std::chrono::milliseconds follow_interval{300};

struct AuditOptions {
    std::string directory;
    std::string key_file;
    std::vector<std::string> trusted;
    std::uint64_t record = 0;
    std::string proof;
    std::string receipt;
    // of show, export and report
    server::AuditFilter filter;
    std::string from;
    std::string before;
    std::uint64_t last = 0;
    bool follow = false;
    std::string format = "jsonl";
    std::string output;
};

server::NoteKey read_public_key(const std::string& file) {
    try {
        return server::NoteKey::from_pem(base::read_file(file, max_pem_bytes));
    } catch (const Error& error) {
        // Not a UsageError: its exit code means something else here.
        throw Error(ErrorCode::invalid_argument, file + ": " + error.message());
    }
}

base::Time read_time(const std::string& text, const char* option) {
    // A day is meant as its beginning.
    const auto time = base::parse_rfc3339(text.size() == 10 ? text + "T00:00:00Z" : text);
    if (!time) {
        throw UsageError(std::string(option) +
                         " takes a time like 2026-11-22T10:00:00Z, or a day, not \"" + text + "\"");
    }
    return *time;
}

server::AuditFilter filter_of(const AuditOptions& options) {
    server::AuditFilter filter = options.filter;
    if (!options.from.empty()) filter.from = read_time(options.from, "--from");
    if (!options.before.empty()) filter.before = read_time(options.before, "--to");
    return filter;
}

// A missing folder is a mistake in the arguments, not an empty log.
void require_log(const std::string& directory) {
    if (!std::filesystem::is_directory(directory)) {
        throw Error(ErrorCode::not_found, directory + " is no folder of an audit log");
    }
}

// On a terminal only: scripts want no bar.
class ProgressBar {
public:
    ~ProgressBar() {
        if (shown_) static_cast<void>(std::fputs("\r\x1B[K", stderr));
    }
    ProgressBar() : wanted_(::isatty(STDERR_FILENO) == 1) {}
    ProgressBar(const ProgressBar&) = delete;
    ProgressBar& operator=(const ProgressBar&) = delete;

    void show(std::uint64_t done, std::uint64_t total) {
        constexpr std::uint64_t width = 40;
        const auto now = std::chrono::steady_clock::now();
        if (!wanted_ || total == 0 || (shown_ && now - at_ < std::chrono::milliseconds(100)))
            return;
        at_ = now;
        shown_ = true;
        const std::uint64_t filled = std::min(width, done * width / total);
        static_cast<void>(std::fprintf(stderr, "\r[%s%s] %3llu %%",
                                       std::string(filled, '#').c_str(),
                                       std::string(width - filled, '.').c_str(),
                                       static_cast<unsigned long long>(done * 100 / total)));
        static_cast<void>(std::fflush(stderr));
    }

private:
    bool wanted_;
    bool shown_ = false;
    std::chrono::steady_clock::time_point at_;
};

server::AuditFinding verify_log(const AuditOptions& options) {
    require_log(options.directory);
    const server::NoteKey key = read_public_key(options.key_file);
    std::vector<std::string> trusted;
    for (const std::string& file : options.trusted) {
        trusted.push_back(base::read_file(file, max_note_file_bytes));
    }
    ProgressBar bar;
    return server::verify_audit_log(
        {options.directory, key, std::move(trusted),
         [&bar](std::uint64_t done, std::uint64_t total) { bar.show(done, total); }});
}

std::string finding_json(const server::AuditFinding& finding) {
    base::JsonWriter out;
    out.begin_object();
    out.field("verdict", server::to_string(finding.verdict));
    out.field("exit_code", static_cast<std::int64_t>(finding.verdict));
    out.name("first_bad");
    if (finding.first_bad == 0) {
        out.null();
    } else {
        out.unsigned_integer(finding.first_bad);
    }
    out.field("reason", finding.reason);
    out.field("records", finding.records).field("pruned", finding.pruned);
    out.field("checkpoints", finding.checkpoints).field("covered", finding.covered);
    out.field("torn_bytes", finding.torn_bytes);
    out.field("origin", finding.last.origin);
    out.field("root", base::to_base64(finding.last.root));
    out.end_object();
    return std::string(out.text());
}

std::string finding_text(const server::AuditFinding& finding) {
    base::Table table;
    table.add({"verdict", std::string(server::to_string(finding.verdict))});
    if (!finding.reason.empty()) table.add({"reason", finding.reason});
    if (finding.first_bad != 0) table.add({"first bad record", std::to_string(finding.first_bad)});
    table.add({"log", finding.last.origin});
    table.add({"records", std::to_string(finding.records)});
    if (finding.pruned > 0) {
        table.add({"removed by retention", "1 to " + std::to_string(finding.pruned)});
    }
    table.add({"checkpoints", std::to_string(finding.checkpoints)});
    table.add({"covered up to record", std::to_string(finding.covered)});
    const std::uint64_t all = finding.pruned + finding.records;
    if (finding.verdict == server::AuditVerdict::clean && all > finding.covered) {
        table.add({"not covered yet", std::to_string(all - finding.covered)});
    }
    if (finding.torn_bytes > 0) {
        table.add({"torn last line", std::to_string(finding.torn_bytes) + " bytes"});
    }
    return table.to_string();
}

int verify_command(const Tool& tool, const AuditOptions& options) {
    const server::AuditFinding finding = verify_log(options);
    print(tool.json ? finding_json(finding) : finding_text(finding));
    return static_cast<int>(finding.verdict);
}

int prove_command(const AuditOptions& options) {
    require_log(options.directory);
    const std::filesystem::path folder = options.directory;
    server::RecordEvidence evidence;
    evidence.checkpoint = base::read_file(folder / server::latest_checkpoint, max_note_file_bytes);
    const auto covering =
        server::parse_checkpoint_text(server::parse_note(evidence.checkpoint).text);
    if (options.record == 0 || options.record > covering.size) {
        throw Error(ErrorCode::not_found,
                    "the last checkpoint covers the records 1 to " + std::to_string(covering.size));
    }
    evidence.index = options.record - 1;
    server::TileReader tiles(folder, covering.size);
    server::MerkleHasher hasher;
    evidence.path = server::inclusion_proof(evidence.index, covering.size, tiles.nodes(), hasher);
    server::AuditLines lines(folder, options.record);
    std::string_view line;
    if (!lines.next(line)) throw Error(ErrorCode::not_found, "the record was removed");
    evidence.record = line;
    print(server::evidence_text(evidence));
    return 0;
}

int check_command(const Tool& tool, const AuditOptions& options) {
    const server::RecordEvidence evidence =
        server::parse_evidence(base::read_file(options.proof, max_proof_bytes));
    const auto checkpoint = server::check_evidence(evidence, read_public_key(options.key_file));
    if (!tool.json) {
        print("record " + std::to_string(evidence.index + 1) + " of the log " + checkpoint.origin +
              " is:");
    }
    print(evidence.record);
    return 0;
}

// "<origin> <leaf index>" as the answer's header has it, or the index alone.
int receipt_command(const Tool& tool, const AuditOptions& options) {
    const std::string_view text = options.receipt;
    const std::string index(text.substr(text.rfind(' ') + 1));
    const std::string proof =
        tool.client().get_text("/v1/audit/receipt?index=" + path_segment(index));
    if (options.output.empty()) {
        print(proof);
    } else {
        base::write_file_durably(options.output, proof, 0600);
    }
    return 0;
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
    if (!options.key_file.empty()) frame.finding = verify_log(options);
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

CLI::App* add_audit_command(CLI::App& family, const char* name, const char* what,
                            AuditOptions& options) {
    CLI::App* command = family.add_subcommand(name, what);
    command->add_option("DIR", options.directory, "The log's folder")->required();
    return command;
}

void add_proof_commands(CLI::App& family, Tool& tool,
                        const std::shared_ptr<AuditOptions>& options) {
    CLI::App* verify = add_audit_command(
        family, "verify",
        "Is the log complete and unchanged? Exit code 0: yes, 2: a record was tampered with, 3: "
        "checkpoints are missing or exclude each other, 4: records are cut off at the end",
        *options);
    verify->add_option("--key", options->key_file, "The audit key's public half (PEM)")
        ->required()
        ->type_name("FILE");
    verify
        ->add_option("--checkpoint", options->trusted,
                     "A checkpoint of this log that was kept elsewhere; may be given many times")
        ->type_name("FILE");
    verify->callback([&tool, options] {
        tool.command = [&tool, options] { return verify_command(tool, *options); };
    });

    CLI::App* prove = add_audit_command(
        family, "prove", "A record with the proof that it is in the log (C2SP tlog-proof)",
        *options);
    prove->add_option("RECORD", options->record, "Its sequence number")->required();
    prove->callback(
        [&tool, options] { tool.command = [options] { return prove_command(*options); }; });

    CLI::App* receipt = family.add_subcommand(
        "receipt",
        "Your own record with its proof, from the service: for an answer with Strongroom-Receipt");
    receipt->add_option("INDEX", options->receipt, "The leaf index, or the header's value")
        ->required();
    receipt->add_option("--output", options->output, "The proof's file; otherwise standard output")
        ->type_name("FILE");
    receipt->callback([&tool, options] {
        tool.command = [&tool, options] { return receipt_command(tool, *options); };
    });

    CLI::App* check = family.add_subcommand(
        "check", "Is a proof of \"prove\" or \"receipt\" good? Shows the record");
    check->add_option("PROOF", options->proof, "The proof's file")->required();
    check->add_option("--key", options->key_file, "The audit key's public half (PEM)")
        ->required()
        ->type_name("FILE");
    check->callback([&tool, options] {
        tool.command = [&tool, options] { return check_command(tool, *options); };
    });
}

void add_reading_commands(CLI::App& family, Tool& tool,
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

}  // namespace

void add_audit_commands(CLI::App& app, Tool& tool) {
    CLI::App* family = app.add_subcommand("audit", "Verify, read and prove an audit log's files");
    family->require_subcommand(1);
    const auto options = std::make_shared<AuditOptions>();
    add_proof_commands(*family, tool, options);
    add_reading_commands(*family, tool, options);
}

}  // namespace kms
