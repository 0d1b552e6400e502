// An audit log that keeps nothing, in the place of server/audit.cpp: with it kmsd is linked once
// more as bench_kmsd_unaudited, the same program whose operations cost no record, no queue and no
// disk. For tests/bench/measure.py, which tells what durable auditing costs. Never installed.
#include <atomic>

#include "server/audit.h"
#include "server/audit_intents.h"

namespace server {

struct AuditLog::Writer {
    AuditConfig config;
    std::atomic<std::uint64_t> records{0};
};

AuditLog::AuditLog(AuditConfig config, const base::Clock& /*clock*/, base::Log& log)
    : writer_(std::make_unique<Writer>()) {
    writer_->config = std::move(config);
    log.warning("this program keeps no audit log: it is for measuring only");
}

AuditLog::~AuditLog() = default;

void AuditLog::append(const Operation& /*operation*/, const Outcome& /*outcome*/, Done done,
                      bool /*was_begun*/) {
    const std::uint64_t sequence = writer_->records.fetch_add(1, std::memory_order_relaxed) + 1;
    if (done) done(sequence);
}

void AuditLog::append_all(std::span<Record> records) noexcept {
    for (Record& record : records) append(record.operation, record.outcome, std::move(record.done));
}

void AuditLog::append_and_wait(const Operation& /*operation*/, const Outcome& /*outcome*/) {}

void AuditLog::record_intent(const Operation& /*operation*/) {}

void AuditLog::event(std::string_view /*action*/,
                     const std::map<std::string, std::string>& /*facts*/) {}

void AuditLog::note(std::string_view /*action*/,
                    const std::map<std::string, std::string>& /*facts*/) noexcept {}

void AuditLog::check() const {}

void AuditLog::follow(AuditFollower* /*follower*/) {}

const AuditConfig& AuditLog::config() const { return writer_->config; }

const std::vector<UnfinishedIntent>& AuditLog::unfinished() const {
    static const std::vector<UnfinishedIntent> none;
    return none;
}

std::uint64_t AuditLog::records_written() const { return writer_->records; }

}  // namespace server
