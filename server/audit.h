// The audit log: one JSON line for every operation, durable before its answer leaves. It records
// what happened; deciding what may happen is server/policy. A record is made from an Operation,
// whose fields can't hold a secret, and from nothing else.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "server/operation.h"

namespace server {

class AuditContext;       // server/audit_context.h
struct UnfinishedIntent;  // server/audit_intents.h

// To see checkpoints and proofs of a log, and receipts of one's own operations; the same word in
// each daemon, asked on audit:<daemon>.
inline constexpr Action witness_audit{"witness_audit"};
// What it is done on: a daemon's log.
inline constexpr std::string_view audit_kind = "audit";

// How the log is sealed: see server/audit_sealer.h.
struct SealConfig {
    std::uint64_t every_records = 1000;          // a checkpoint at the latest after so many records
    std::chrono::milliseconds every{5000};       // and after so long, when there is a new record
    std::filesystem::path copy;                  // second folder for checkpoints; empty: none
    std::chrono::days keep{0};                   // segments are removed when so old; 0: never
    std::chrono::milliseconds stop_bound{1000};  // longest wait for the signer at the end
    std::optional<std::chrono::days> compress{};  // closed segments are when so old; empty: never
    // So long may records stand without a checkpoint; then nothing is served until there is one. 0:
    // a signer that is away stops nothing.
    std::chrono::milliseconds refuse_after{0};
    std::string
        signing_key{};  // which one, in the words of who signs for the daemon; empty: its own
};

struct AuditConfig {
    std::filesystem::path
        directory;       // created when missing, mode 0700; one writer at a time (locked)
    std::string daemon;  // "kmsd", "vaultd"
    std::string node;    // host name or configured name
    std::chrono::milliseconds bound{200};  // longest wait for durability
    // The file is closed and another begun when it has this size or age.
    std::uint64_t segment_bytes = 256UL * 1024 * 1024;
    std::chrono::hours segment_age{7 * 24};
    // Where the system tells which run of the machine this is; empty: where Linux does.
    std::filesystem::path boot_id{};
    std::optional<SealConfig> seal{};  // none: no tree, no checkpoints
    // How fields of encryption contexts are written; null: in clear.
    std::shared_ptr<const AuditContext> context{};
};

// Who wants to know how far the log has got: see server/audit_sealer.h.
class AuditFollower {
public:
    virtual ~AuditFollower() = default;
    // All records up to `sequence` are durable; `hash` is the leaf hash of that one, in hex. Called
    // on the writer's thread: must not block, nor call the log.
    virtual void durable(std::uint64_t sequence, const std::string& hash) = 0;
    // Throws unavailable when the log must not be used any more. Must not block, nor call the log.
    virtual void check() const = 0;
};

// How an operation ended, as the record says it.
struct Outcome {
    std::string word;     // "ok", "denied", "failed", "withheld", "intent", "unknown"
    std::string error;    // an error code's word; empty when ok
    unsigned status = 0;  // HTTP status; 0 for events that have none
};

// Thread-safe. The destructor writes what is queued and stops the writer.
class AuditLog final : public IntentRecorder {
public:
    // Opens or creates the log, cuts a torn last line (and says so in `log`), goes on with the next
    // sequence number. For each intent without any result that the processes before have left
    // (server/audit_intents.h) it writes a record with the outcome "unknown": the same request id,
    // action and facts, the resources as items, and the intent's number as `intent_sequence`.
    // Throws failed_precondition naming the file when it can't be used, unavailable when it can't
    // be read or those records can't be made durable as the events of a start are.
    AuditLog(AuditConfig config, const base::Clock& clock, base::Log& log);
    ~AuditLog() override;
    AuditLog(const AuditLog&) = delete;
    AuditLog& operator=(const AuditLog&) = delete;

    // Called once: with the record's sequence number when it is on stable storage, with 0 when it
    // could not be made so within the bound. Runs on the writer's thread (or the bound's timer): it
    // must not block.
    using Done = std::function<void(std::uint64_t sequence)>;

    // Queues the record; many waiting records share one sync (group commit). Never blocks.
    // `done` may be empty when nobody waits: then no "withheld" record follows a late one.
    // `was_begun`: check() was asked before the operation, and had no objection; the records of
    // others, refusals for the most part, have less room to wait in.
    void append(const Operation& operation, const Outcome& outcome, Done done,
                bool was_begun = true);

    // The arguments of one append().
    struct Record {
        const Operation& operation;
        const Outcome& outcome;
        Done done;
        bool was_begun = true;
    };
    // The same for several at once, so that they share a sync. What of them can't be made (no
    // memory) is told 0, too.
    void append_all(std::span<Record> records) noexcept;

    // Queues and waits, for records that must stand before the work goes on (intents). Throws
    // unavailable when it could not be made durable within the bound.
    void append_and_wait(const Operation& operation, const Outcome& outcome);

    // append_and_wait() with the outcome "intent".
    void record_intent(const Operation& operation) override;

    // An event of the daemon's own, with facts: "start", "stop", "reload", "token_login" … Waits
    // like append_and_wait; up to and with the first "start" 50 times as long, for a slow disk.
    void event(std::string_view action, const std::map<std::string, std::string>& facts);

    // The same without waiting, for events that nothing goes on after: never blocks nor throws.
    void note(std::string_view action, const std::map<std::string, std::string>& facts) noexcept;

    // Throws unavailable while the log can't be written, or its follower says so.
    void check() const;

    // Tells `follower` at once how far the log is, then with each batch. One at a time; null takes
    // it off: it is not called any more when this returns. It must outlive its time here.
    void follow(AuditFollower* follower);

    const AuditConfig& config() const;

    // What was found open when this was made, in order. What came of it is for others to say, in an
    // event with the fact `of_request`; until they do it is found again.
    const std::vector<UnfinishedIntent>& unfinished() const;

    std::uint64_t records_written() const;

private:
    void tell_unfinished();

    struct Writer;
    std::unique_ptr<Writer> writer_;
};

}  // namespace server
