// Makes audit logs with checkpoints, and judges many in a row: for tests in other languages, which
// would spend their time in starting processes.
//
//     audit_cases make FOLDER RECORDS ed25519|ecdsa [SEGMENT_BYTES [prune|crash]]
//                                   makes FOLDER and FOLDER.pem; with "prune", old segments are
//                                   gone; with "crash" nothing is closed, and the journal is left
//     audit_cases judge KEY.pem     reads "<folder> [<first> <last>]" (those records only), writes
//                                   "<exit code> <first bad record> <records in the journal only>"
#include <cstdlib>
#include <future>
#include <iostream>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "server/audit.h"
#include "server/audit_retention.h"
#include "server/audit_sealer.h"
#include "server/audit_verify.h"
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

}  // namespace

int main(int count, char** arguments) {
    try {
        const std::vector<std::string> given(arguments + 1, arguments + count);
        if (given.size() == 2 && given[0] == "judge") {
            judge(given[1]);
        } else if (given.size() >= 4 && given[0] == "make") {
            make(given[1], std::stoi(given[2]), given[3],
                 given.size() > 4 ? std::stoull(given[4]) : std::uint64_t{1} << 40U,
                 given.size() > 5 ? given[5] : std::string());
        } else {
            std::cerr << "usage: audit_cases make FOLDER RECORDS ed25519|ecdsa [SEGMENT_BYTES "
                         "[prune|crash]] | judge KEY.pem\n";
            return 2;
        }
        return 0;
    } catch (const std::exception& error) {
        std::cerr << "audit_cases: " << error.what() << '\n';
        return 1;
    }
}
