// Makes audit logs with checkpoints, and judges many in a row: for tests in other languages, which
// would spend their time in starting processes.
//
//     audit_cases make FOLDER RECORDS ed25519|ecdsa [SEGMENT_BYTES [prune|crash]]
//                                   makes FOLDER and FOLDER.pem; with "prune", old segments are
//                                   gone; with "crash" nothing is closed, and the journal is left
//     audit_cases judge KEY.pem     reads "<folder> [<first> <last>]" (those records only), writes
//                                   "<exit code> <first bad record> <records in the journal only>"
//     audit_cases bytes KEY.pem FOLDER period|whole FIRST LAST [EVERY]
//                                   changes one bit of each byte (or of every EVERY-th) of those
//                                   records of audit.jsonl in turn, judges each change, and writes
//                                   "<record> <bytes> <exit code> <first bad record>", once for
//                                   each outcome that there was. "whole": the file is changed on
//                                   disk, its line ends too, and verify_audit_log judges all of
//                                   it. "period": PeriodWatch, which judges line after line when a
//                                   part of a log is verified, is given the changed line behind
//                                   the one before it
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <future>
#include <iostream>
#include <map>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "server/audit.h"
#include "server/audit_period.h"
#include "server/audit_retention.h"
#include "server/audit_sealer.h"
#include "server/audit_verify.h"
#include "server/tiles.h"
#include "tests/support/software_signer.h"

namespace {

constexpr int records_for_each_checkpoint = 97;  // no multiple of a tile's width

void append(server::AuditLog& log, const base::Clock& clock, int number, bool last) {
    server::Caller caller;
    caller.id = "spiffe://strongroom/app";
    caller.method = server::AuthenticationMethod::client_certificate;
    server::Operation operation(base::Uuid::random(), clock.now(), caller);
    operation.set_action({"unwrap_data_key"});
    operation.set_fact("number", std::to_string(number));
    if (last) {
        log.append_and_wait(operation, {"ok", "", 200});
    } else {
        log.append(operation, {"ok", "", 200}, nullptr);
    }
}

void make(const std::string& folder, int records, const std::string& algorithm,
          std::uint64_t segment_bytes, const std::string& end) {
    tests::SoftwareSigner signer(algorithm == "ecdsa" ? server::NoteAlgorithm::ecdsa_p256
                                                      : server::NoteAlgorithm::ed25519);
    const base::SystemClock clock;
    base::Log messages("audit_cases", base::LogLevel::warning);
    server::AuditConfig config;
    config.directory = folder;
    config.daemon = "kmsd";
    config.node = "node-1";
    config.segment_bytes = segment_bytes;
    config.bound = std::chrono::minutes(10);  // a busy machine is no reason to end
    server::AuditLog log(config, clock, messages);
    server::SealConfig rarely;
    rarely.every_records = records <= 10'000 ? 1'000'000 : 1000;
    rarely.every = std::chrono::hours(1);
    server::AuditSealer sealer(log, signer.share(), rarely, clock, messages);
    for (int i = 1; i <= records; ++i) {
        const bool sealed = i % records_for_each_checkpoint == 0;
        append(log, clock, i, sealed || i == records || i % 1000 == 0);
        if (sealed && records <= 10'000) sealer.seal_now();
    }
    base::write_file_durably(folder + ".pem", signer.note_key().to_pem(), 0644);
    if (end == "crash") std::_Exit(0);
    if (end == "prune") {
        sealer.seal_now();
        server::prune_audit_log(log, std::chrono::days(1), static_cast<std::uint64_t>(records),
                                clock.now() + std::chrono::days(2));
    }
}

void judge(const std::string& key_file) {
    const auto key = server::NoteKey::from_pem(base::read_file(key_file, 65536));
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream words(line);
        std::string folder;
        server::AuditPeriod period;
        words >> folder >> period.first >> period.last;
        const auto finding = server::verify_audit_log({folder, key, {}, {}, period});
        std::cout << static_cast<int>(finding.verdict) << ' ' << finding.first_bad << ' '
                  << finding.journal_only << std::endl;
    }
}

using Judgement = std::pair<int, std::uint64_t>;  // exit code, first bad record

struct Line {
    std::uint64_t number;
    std::size_t begin;  // in the file
    std::size_t size;   // without its end
};

std::vector<Line> lines_of(const std::string& text) {
    std::vector<Line> lines;
    for (std::size_t at = 0, end = 0; (end = text.find('\n', at)) != std::string::npos;
         at = end + 1) {
        lines.push_back({lines.size() + 1, at, end - at});
    }
    return lines;
}

// By what the tiles say of a sealed log with `covered` records.
class PeriodJudge {
public:
    PeriodJudge(const std::string& folder, std::uint64_t covered)
        : tiles_(folder, covered), covered_(covered) {}

    Judgement judge(std::uint64_t number, std::string_view before, std::string_view changed) {
        server::AuditPeriod period;
        period.first = period.last = number;
        server::PeriodWatch watch(period, tiles_, covered_);
        if (!before.empty()) watch.line(before);
        watch.line(changed);
        watch.end();
        if (watch.first_bad() != 0) return {2, watch.first_bad()};
        return watch.cut_off() ? Judgement{4, watch.next()} : Judgement{0, 0};
    }

private:
    server::TileReader tiles_;
    std::uint64_t covered_;
};

// One byte of a file is another while this lives.
class ChangedByte {
public:
    ChangedByte(int file, std::size_t at, char good, char bad) : file_(file), at_(at), good_(good) {
        write(bad);
    }
    ~ChangedByte() { write(good_); }
    ChangedByte(const ChangedByte&) = delete;
    ChangedByte& operator=(const ChangedByte&) = delete;

private:
    void write(char byte) const {
        if (::pwrite(file_, &byte, 1, static_cast<off_t>(at_)) != 1) std::abort();
    }
    int file_;
    std::size_t at_;
    char good_;
};

void judge_bytes(const server::NoteKey& key, const std::string& folder, bool whole,
                 std::uint64_t first, std::uint64_t last, std::size_t every) {
    const std::string file = folder + "/audit.jsonl";
    std::string text = base::read_file(file, 64UL * 1024 * 1024);
    const std::vector<Line> lines = lines_of(text);
    const auto good = server::verify_audit_log({folder, key, {}, {}});
    if (good.verdict != server::AuditVerdict::clean || good.covered != lines.size()) {
        throw base::Error(base::ErrorCode::failed_precondition, "the log is not clean and sealed");
    }
    PeriodJudge period(folder, good.covered);
    const int opened = ::open(file.c_str(), O_WRONLY | O_CLOEXEC);
    std::string_view before;
    for (const Line& line : lines) {
        const std::string_view now = std::string_view(text).substr(line.begin, line.size);
        std::map<Judgement, std::size_t> outcomes;
        const std::size_t bytes = line.size + (whole ? 1 : 0);
        for (std::size_t i = line.number % every; i < bytes; i += every) {
            if (line.number < first || line.number > last) break;
            // None of the five lowest bits makes a line end of a character that can be seen.
            char& byte = text[line.begin + i];
            const char was = byte;
            const auto bad = static_cast<char>(was ^ (1 << ((i + line.number) % 5)));
            if (whole) {
                const ChangedByte changed(opened, line.begin + i, was, bad);
                const auto found = server::verify_audit_log({folder, key, {}, {}});
                ++outcomes[{static_cast<int>(found.verdict), found.first_bad}];
            } else {
                byte = bad;
                ++outcomes[period.judge(line.number, before, now)];
                byte = was;
            }
        }
        for (const auto& [outcome, count] : outcomes) {
            std::cout << line.number << ' ' << count << ' ' << outcome.first << ' '
                      << outcome.second << '\n';
        }
        before = now;
    }
    ::close(opened);
}

int run(const std::vector<std::string>& given) {
    const auto key = [&given] {
        return server::NoteKey::from_pem(base::read_file(given[1], 65536));
    };
    if (given.size() == 2 && given[0] == "judge") {
        judge(given[1]);
    } else if (given.size() >= 6 && given[0] == "bytes") {
        judge_bytes(key(), given[2], given[3] == "whole", std::stoull(given[4]),
                    std::stoull(given[5]), given.size() > 6 ? std::stoull(given[6]) : 1);
    } else if (given.size() >= 4 && given[0] == "make") {
        make(given[1], std::stoi(given[2]), given[3],
             given.size() > 4 ? std::stoull(given[4]) : std::uint64_t{1} << 40U,
             given.size() > 5 ? given[5] : std::string());
    } else {
        std::cerr << "usage: audit_cases make FOLDER RECORDS ed25519|ecdsa [SEGMENT_BYTES "
                     "[prune|crash]] | judge KEY.pem | bytes KEY.pem FOLDER period|whole FIRST "
                     "LAST [EVERY]\n";
        return 2;
    }
    return 0;
}

}  // namespace

int main(int count, char** arguments) {
    try {
        return run({arguments + 1, arguments + count});
    } catch (const std::exception& error) {
        std::cerr << "audit_cases: " << error.what() << '\n';
        return 1;
    }
}
