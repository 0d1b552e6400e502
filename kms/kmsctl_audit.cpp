// audit verify, prove, receipt, check, hash. They read the files of a log; none but receipt needs
// the service, a token or a network.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/table.h"
#include "kms/client/connection.h"
#include "kms/kmsctl_audit.h"
#include "server/audit_context.h"
#include "server/audit_proof.h"
#include "server/audit_segments.h"
#include "server/checkpoint_file.h"
#include "server/tiles.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t max_pem_bytes = 64UL * 1024;
constexpr std::size_t max_note_file_bytes = 64UL * 1024;
constexpr std::size_t max_proof_bytes = 1024UL * 1024;

server::NoteKey read_public_key(const std::string& file) {
    try {
        return server::NoteKey::from_pem(base::read_file(file, max_pem_bytes));
    } catch (const Error& error) {
        throw Error(ErrorCode::invalid_argument, file + ": " + error.message());
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

// A record's number, or a time.
server::AuditPeriod period_of(const AuditOptions& options) {
    const auto is_number = [](const std::string& text) {
        return !text.empty() && text.size() < 19 &&
               text.find_first_not_of("0123456789") == std::string::npos;
    };
    server::AuditPeriod period;
    if (is_number(options.from)) {
        period.first = std::stoull(options.from);
    } else if (!options.from.empty()) {
        period.from = read_audit_time(options.from, "--from");
    }
    if (is_number(options.before)) {
        period.last = std::stoull(options.before);
    } else if (!options.before.empty()) {
        period.before = read_audit_time(options.before, "--to");
    }
    return period;
}

std::string finding_json(const server::AuditFinding& finding, const std::string& verifier_key) {
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
    out.field("torn_bytes", finding.torn_bytes).field("journal_only", finding.journal_only);
    out.name("period");
    if (finding.period_first == 0) {
        out.null();
    } else {
        out.begin_object().field("first", finding.period_first);
        out.field("last", finding.period_last).end_object();
    }
    out.field("origin", finding.last.origin);
    out.field("root", base::to_base64(finding.last.root));
    out.field("verifier_key", verifier_key);
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
    if (finding.period_first != 0) {
        table.add({"judged", finding.period_last < finding.period_first
                                 ? "nothing: no record of the period is there"
                                 : "only " + std::to_string(finding.period_first) + " to " +
                                       std::to_string(finding.period_last)});
    }
    if (finding.pruned > 0) {
        table.add({"removed by retention", "1 to " + std::to_string(finding.pruned)});
    }
    table.add({"checkpoints", std::to_string(finding.checkpoints)});
    table.add({"covered up to record", std::to_string(finding.covered)});
    const std::uint64_t all = finding.pruned + finding.records;
    if (finding.verdict == server::AuditVerdict::clean && all > finding.covered &&
        finding.period_first == 0) {
        table.add({"not covered yet", std::to_string(all - finding.covered)});
    }
    if (finding.torn_bytes > 0) {
        table.add({"torn last line", std::to_string(finding.torn_bytes) + " bytes"});
    }
    if (finding.journal_only > 0) {
        table.add({"only in audit.journal", std::to_string(finding.journal_only) +
                                                " records at the end, as a crash of the machine "
                                                "leaves them; the next start puts them back"});
    }
    return table.to_string();
}

int verify_command(const Tool& tool, const AuditOptions& options) {
    const server::AuditFinding finding = verify_log(options);
    // What tools of other transparency logs take.
    const std::string verifier_key =
        finding.last.origin.empty()
            ? std::string()
            : read_public_key(options.key_file).verifier_key(finding.last.origin);
    print(tool.json ? finding_json(finding, verifier_key) : finding_text(finding));
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

void add_proof_commands(CLI::App& family, Tool& tool,
                        const std::shared_ptr<AuditOptions>& options) {
    CLI::App* verify = add_audit_command(
        family, "verify",
        "Is the log complete and unchanged? Exit code 0: yes, 2: a record was tampered with, 3: "
        "checkpoints are missing or exclude each other, 4: records are cut off at the end. 1: "
        "there is no verdict, since the command or a file was wrong",
        *options);
    tool.gives_verdict = [verify] { return verify->parsed(); };
    verify->add_option("--key", options->key_file, "The audit key's public half (PEM)")
        ->required()
        ->type_name("FILE");
    verify
        ->add_option("--checkpoint", options->trusted,
                     "A checkpoint of this log that was kept elsewhere; may be given many times")
        ->type_name("FILE");
    verify
        ->add_option("--from", options->from,
                     "Judge only records from this number, time or day on; the whole log when its "
                     "tiles are missing")
        ->type_name("RECORD|TIME");
    verify->add_option("--to", options->before, "Up to this number, or before this time or day")
        ->type_name("RECORD|TIME");
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

// What stands for a value in the records when context fields are hashed.
int hash_command(const AuditOptions& options) {
    const base::SecretBytes key = base::read_secret_file(options.key_file);
    print(server::context_hash(key.expose(), options.name, options.value));
    return 0;
}

void add_hash_command(CLI::App& family, Tool& tool, const std::shared_ptr<AuditOptions>& options) {
    CLI::App* hash =
        family.add_subcommand("hash", "What stands in \"context_hmac\" for a value that you know");
    hash->add_option("NAME", options->name, "The field of the context")->required();
    hash->add_option("VALUE", options->value, "Its value")->required();
    hash->add_option("--hash-key", options->key_file,
                     "The file of \"audit.context.hash_key\" (mode 0600)")
        ->required()
        ->type_name("FILE");
    hash->callback(
        [&tool, options] { tool.command = [options] { return hash_command(*options); }; });
}

}  // namespace

base::Time read_audit_time(const std::string& text, const char* option) {
    // A day is meant as its beginning.
    const auto time = base::parse_rfc3339(text.size() == 10 ? text + "T00:00:00Z" : text);
    if (!time) {
        throw UsageError(std::string(option) +
                         " takes a time like 2026-11-22T10:00:00Z, or a day, not \"" + text + "\"");
    }
    return *time;
}

void require_log(const std::string& directory) {
    if (!std::filesystem::is_directory(directory)) {
        throw Error(ErrorCode::not_found, directory + " is no folder of an audit log");
    }
}

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
         [&bar](std::uint64_t done, std::uint64_t total) { bar.show(done, total); },
         options.whole ? server::AuditPeriod() : period_of(options)});
}

CLI::App* add_audit_command(CLI::App& family, const char* name, const char* what,
                            AuditOptions& options) {
    CLI::App* command = family.add_subcommand(name, what);
    command->add_option("DIR", options.directory, "The log's folder")->required();
    return command;
}

void add_audit_commands(CLI::App& app, Tool& tool) {
    CLI::App* family = app.add_subcommand("audit", "Verify, read and prove an audit log's files");
    family->require_subcommand(1);
    const auto options = std::make_shared<AuditOptions>();
    add_proof_commands(*family, tool, options);
    add_audit_record_commands(*family, tool, options);
    add_hash_command(*family, tool, options);
}

}  // namespace kms
