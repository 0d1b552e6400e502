#include "server/audit.h"

#include <atomic>
#include <future>

#include "base/error.h"
#include "server/audit_file.h"
#include "server/audit_intents.h"
#include "server/audit_record.h"
#include "server/audit_writer.h"
#include "server/merkle.h"

namespace server {
namespace {

// Nobody waits for an answer of what a start records, and a daemon that stays away since the disk
// was busy is worse than one that is late: so many bounds, 10 s with the usual one.
constexpr int start_patience = 50;
constexpr std::string_view start_action = "start";

AuditChain chain_after(const DiskAuditFile& file) {
    if (file.last_line().empty()) return {0, first_previous()};
    try {
        MerkleHasher hasher;
        return {sequence_of(file.last_line()), line_hash(file.last_line(), hasher)};
    } catch (const base::Error& error) {
        throw base::Error(
            base::ErrorCode::failed_precondition,
            "the last line of the audit log " + file.path().string() +
                " is no record; keep the file for an investigation and start with an empty folder",
            error.what());
    }
}

Operation event_of(std::string_view action, const std::map<std::string, std::string>& facts,
                   base::Time now) {
    Operation operation(base::Uuid::random(), now, Caller{});
    operation.set_action({action});
    for (const auto& [name, value] : facts) operation.set_fact(name, value);
    return operation;
}

}  // namespace

struct AuditLog::Writer {
    Writer(AuditConfig the_config, std::unique_ptr<DiskAuditFile> file, AuditChain chain,
           const base::Clock& the_clock, base::Log& the_log)
        : config(std::move(the_config)),
          clock(the_clock),
          log(the_log),
          writer(config, std::move(file), std::move(chain), clock, log) {}

    AuditConfig config;
    const base::Clock& clock;
    base::Log& log;
    std::vector<UnfinishedIntent> unfinished;
    std::atomic<bool> is_starting{true};
    std::atomic<bool> said_that_it_waits{false};
    AuditWriter writer;

    AuditEntry entry_of(const Operation& operation, const Outcome& outcome) const {
        return {audit_fields(config, operation, outcome, clock.now()), operation.request_id(),
                std::string(operation.action()), nullptr};
    }
    void append_patiently(const Operation& operation, const Outcome& outcome);
};

AuditLog::AuditLog(AuditConfig config, const base::Clock& clock, base::Log& log) {
    auto file = std::make_unique<DiskAuditFile>(
        config.directory, SegmentLimits{config.segment_bytes, config.segment_age}, log,
        config.boot_id.empty() ? system_boot_id : config.boot_id);
    AuditChain chain = chain_after(*file);
    auto unfinished = unfinished_intents(config.directory);
    writer_ =
        std::make_unique<Writer>(std::move(config), std::move(file), std::move(chain), clock, log);
    writer_->unfinished = std::move(unfinished);
    tell_unfinished();
}

AuditLog::~AuditLog() = default;

// A record that is late stays in the queue, and is told to stand when it does.
void AuditLog::Writer::append_patiently(const Operation& operation, const Outcome& outcome) {
    const auto durable = std::make_shared<std::promise<bool>>();
    auto answer = durable->get_future();
    AuditEntry entry = entry_of(operation, outcome);
    entry.done = [durable](std::uint64_t sequence) { durable->set_value(sequence != 0); };
    entry.is_patient = true;
    writer.append(std::move(entry));
    const std::string folder = config.directory.string();
    if (answer.wait_for(config.bound) != std::future_status::ready &&
        !said_that_it_waits.exchange(true)) {
        log.warning("the start waits for the disk of the audit log", {{"directory", folder}});
    }
    if (answer.wait_for((start_patience - 1) * config.bound) != std::future_status::ready ||
        !answer.get()) {
        throw base::Error(base::ErrorCode::unavailable,
                          "the audit log in " + folder +
                              " can't be written, so the start can't be recorded; see to the "
                              "space and the health of its disk, then start again");
    }
}

// The last one is waited for, and with it all: what is written next, and the sealer, find the log
// as it stays.
void AuditLog::tell_unfinished() {
    std::vector<const UnfinishedIntent*> untold;
    for (const UnfinishedIntent& intent : writer_->unfinished) {
        if (!intent.is_told) untold.push_back(&intent);
    }
    if (untold.empty()) return;
    writer_->log.warning("the process before ended before it could record what came of its intents",
                         {{"intents", static_cast<std::int64_t>(untold.size())}});
    for (const UnfinishedIntent* intent : untold) {
        Operation operation(intent->request_id, writer_->clock.now(), Caller{});
        operation.set_action({intent->action});
        for (const auto& [name, value] : intent->facts) operation.set_fact(name, value);
        operation.set_fact("intent_sequence", std::to_string(intent->sequence));
        for (const std::string& resource : intent->resources)
            operation.add_item({resource, "unknown"});
        const Outcome outcome{"unknown", "", 0};
        if (intent == untold.back()) {
            writer_->append_patiently(operation, outcome);
        } else {
            append(operation, outcome, nullptr);
        }
    }
}

void AuditLog::append(const Operation& operation, const Outcome& outcome, Done done,
                      bool was_begun) {
    AuditEntry entry = writer_->entry_of(operation, outcome);
    entry.done = std::move(done);
    entry.was_begun = was_begun;
    writer_->writer.append(std::move(entry));
}

void AuditLog::append_all(std::span<Record> records) noexcept {
    std::vector<AuditEntry> entries;
    for (Record& record : records) {
        try {
            entries.reserve(records.size());
            entries.push_back(writer_->entry_of(record.operation, record.outcome));
            entries.back().done = std::move(record.done);
            entries.back().was_begun = record.was_begun;
        } catch (const std::exception& error) {
            writer_->log.error("the audit log refused a record", {{"reason", error.what()}});
            if (record.done) record.done(0);
        }
    }
    writer_->writer.append_all(entries);
}

void AuditLog::record_intent(const Operation& operation) {
    append_and_wait(operation, {"intent", "", 0});
}

void AuditLog::append_and_wait(const Operation& operation, const Outcome& outcome) {
    const auto durable = std::make_shared<std::promise<bool>>();
    auto answer = durable->get_future();
    append(operation, outcome,
           [durable](std::uint64_t sequence) { durable->set_value(sequence != 0); });
    if (!answer.get())
        throw base::Error(base::ErrorCode::unavailable, "the audit log can't be written");
}

void AuditLog::event(std::string_view action, const std::map<std::string, std::string>& facts) {
    const Operation operation = event_of(action, facts, writer_->clock.now());
    if (!writer_->is_starting) return append_and_wait(operation, {"ok", "", 0});
    writer_->append_patiently(operation, {"ok", "", 0});
    if (action == start_action) writer_->is_starting = false;
}

void AuditLog::note(std::string_view action,
                    const std::map<std::string, std::string>& facts) noexcept {
    try {
        append(event_of(action, facts, writer_->clock.now()), {"ok", "", 0}, nullptr);
    } catch (const std::exception&) {  // no memory, no randomness
        writer_->log.error("an event could not be recorded", {{"action", std::string(action)}});
    }
}

void AuditLog::check() const { writer_->writer.check(); }

void AuditLog::follow(AuditFollower* follower) { writer_->writer.follow(follower); }

const AuditConfig& AuditLog::config() const { return writer_->config; }

const std::vector<UnfinishedIntent>& AuditLog::unfinished() const { return writer_->unfinished; }

std::uint64_t AuditLog::records_written() const { return writer_->writer.records_written(); }

}  // namespace server
