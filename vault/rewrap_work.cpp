#include "vault/rewrap_work.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/error.h"
#include "vault/sealed.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;
using std::chrono::milliseconds;

// One row on its way to its result.
struct MovingRow {
    RewrapResult result;
    SealedCredential sealed;
    KeyContext context;

    bool is_lost() const { return !result.reason.empty(); }
    void lose(const Error& error) { result.reason = to_string(error.code()); }
};

MovingRow read_row(RewrapRow row) {
    MovingRow moving;
    moving.result.place = row.place;
    moving.context = key_context(SealBinding{row.id.owner, row.id.name, row.place.version});
    try {
        moving.sealed = parse_stored(row.sealed);
        if (MasterKeyVersion{moving.sealed.key_id, moving.sealed.key_version} != row.master_key)
            throw base::decryption_failed("the row's master key columns differ from its kid");
    } catch (const Error& error) {
        moving.lose(error);
    }
    moving.result.before = std::move(row.sealed);
    return moving;
}

// Calls `use` with each row that is not lost, and with its outcome of the call that takes all.
template <typename Outcomes, typename Use>
void with_outcomes(std::vector<MovingRow>& rows, Outcomes outcomes, Use use) {
    std::size_t next = 0;
    for (MovingRow& row : rows) {
        if (row.is_lost()) continue;
        auto& outcome = outcomes.at(next++);
        if (const auto* error = std::get_if<Error>(&outcome)) {
            row.lose(*error);
        } else {
            use(row, outcome);
        }
    }
}

std::vector<WrappedKey> wrapped_keys(const std::vector<MovingRow>& rows) {
    std::vector<WrappedKey> items;
    for (const MovingRow& row : rows) {
        if (!row.is_lost()) items.push_back({row.sealed.wrapped_data_key, row.context});
    }
    return items;
}

void take_anew(MovingRow& row, Rewrapped anew, const MasterKeyVersion& target) {
    if (anew.master_key.key_id != target.key_id || anew.master_key.version < target.version) {
        // A node that does not know of the rotation yet, or another key behind the alias.
        throw Error(ErrorCode::unavailable,
                    "the key service wraps under another master key version than the job's");
    }
    if (!base::equal_constant_time(anew.commitment, row.sealed.commitment)) {
        row.lose(base::decryption_failed("another data key came back"));
        return;
    }
    row.sealed.key_id = anew.master_key.key_id;
    row.sealed.key_version = anew.master_key.version;
    row.sealed.wrapped_data_key = std::move(anew.wrapped);
    row.result.master_key = anew.master_key;
    row.result.after = to_text(row.sealed);
}

// A token that is away for a moment must not make failures of all that is asked meanwhile. What a
// key service that is well gives no answer for (its key was disabled or destroyed) is a failure.
void require_key_service(DataKeys& keys, const std::vector<MovingRow>& rows) {
    const bool is_doubtful = std::any_of(rows.begin(), rows.end(), [](const MovingRow& row) {
        return row.result.reason == to_string(ErrorCode::unavailable);
    });
    if (is_doubtful) keys.check();
}

}  // namespace

// That it can't be written, the audit log itself says.
bool RewrapWork::can_record() const {
    try {
        parts_.audit.check();
        return true;
    } catch (const base::Error&) {
        return false;
    }
}

milliseconds RewrapWork::step() {
    if (!can_record()) return rewrap_idle;
    const RewrapTask task = parts_.store.take(parts_.clock.now());
    if (std::holds_alternative<NothingToRewrap>(task)) return rewrap_idle;
    if (const auto* later = std::get_if<RewrapLater>(&task)) return later->wait;
    const auto& lease = std::get<RewrapLease>(task);
    try {
        lease.piece ? move(lease) : conclude(lease);
    } catch (const Error& error) {
        parts_.log.warning("a piece of the rewrap job failed and will be tried again",
                           {{"job", lease.job.to_string()}, {"reason", error.what()}});
        parts_.store.give_back(lease, error.message(), rewrap_trouble_pause, parts_.clock.now());
    }
    return milliseconds(0);
}

void RewrapWork::move(const RewrapLease& lease) {
    std::vector<RewrapRow> rows = parts_.store.load(*lease.piece);
    std::vector<RewrapRow> names;
    names.reserve(rows.size());
    for (const RewrapRow& row : rows) names.push_back({row.place, row.id, row.master_key, {}});
    std::vector<RewrapResult> results = rewrap(lease, std::move(rows));
    const auto moved = std::count_if(results.begin(), results.end(),
                                     [](const auto& result) { return !result.after.empty(); });
    const auto fresh = parts_.store.settle(lease, std::move(results), parts_.clock.now());
    if (!fresh) return;  // cancelled, or too late: another worker did it
    parts_.metrics.count("rewrapped_records", static_cast<double>(moved));
    record(lease, *fresh, names);
}

// Everything that will stand in the store was unwrapped by the key service for its own place, and
// is the data key that the ciphertext beside it was sealed under: the key service says its
// commitment of what it unwrapped, and that is the one which stands beside the ciphertext.
std::vector<RewrapResult> RewrapWork::rewrap(const RewrapLease& lease,
                                             std::vector<RewrapRow> rows) {
    std::vector<MovingRow> moving;
    moving.reserve(rows.size());
    for (RewrapRow& row : rows) moving.push_back(read_row(std::move(row)));
    rows.clear();
    with_outcomes(moving, parts_.keys.rewrap_many(wrapped_keys(moving), {}),
                  [&](MovingRow& row, RewrapOutcome& outcome) {
                      take_anew(row, std::get<Rewrapped>(std::move(outcome)), lease.target);
                  });
    require_key_service(parts_.keys, moving);
    std::vector<RewrapResult> results;
    results.reserve(moving.size());
    for (MovingRow& row : moving) {
        if (row.is_lost()) row.result.after.clear();
        results.push_back(std::move(row.result));
    }
    return results;
}

void RewrapWork::record(const RewrapLease& lease, const std::vector<RewrapResult>& failures,
                        const std::vector<RewrapRow>& names) {
    if (failures.empty()) return;
    parts_.metrics.count("rewrap_failures", static_cast<double>(failures.size()));
    std::map<RewrapPlace, const CredentialId*> ids;
    for (const RewrapRow& row : names) ids[row.place] = &row.id;
    for (const RewrapResult& failure : failures) {
        const CredentialId& id = *ids.at(failure.place);
        parts_.audit.note("rewrap_failed", {{"job", lease.job.to_string()},
                                            {"owner", id.owner},
                                            {"credential", id.name},
                                            {"version", std::to_string(failure.place.version)},
                                            {"reason", failure.reason}});
    }
}

// What was counted is recorded before the job says so to anybody.
void RewrapWork::conclude(const RewrapLease& lease) {
    const auto job = parts_.store.find(lease.job);
    if (!job || !job->statement) return;
    const bool is_safe = job->statement->is_safe() && !parts_.has_uncounted_copies;
    parts_.audit.event("rewrap_concluded",
                       {{"job", job->id.to_string()},
                        {"key_id", job->target.key_id.to_string()},
                        {"versions_below", std::to_string(job->target.version)},
                        {"remaining", std::to_string(job->statement->remaining)},
                        {"differing", std::to_string(job->statement->differing)},
                        {"uncounted_copies", parts_.has_uncounted_copies ? "yes" : "no"},
                        {"safe_to_retire", is_safe ? "yes" : "no"},
                        {"counted_at", base::to_rfc3339(job->statement->counted_at)},
                        {"done", std::to_string(job->done)},
                        {"failed", std::to_string(job->failed)},
                        {"superseded", std::to_string(job->superseded)}});
    parts_.store.complete(lease, parts_.clock.now());
}

RewrapWorkers::RewrapWorkers(RewrapWork& work, std::size_t count, base::Log& log)
    : work_(work), log_(log) {
    threads_.reserve(count);
    for (std::size_t i = 0; i < count; ++i) threads_.emplace_back([this] { run(); });
}

RewrapWorkers::~RewrapWorkers() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void RewrapWorkers::wake() {
    {
        const std::lock_guard lock(mutex_);
        ++wakes_;
    }
    changed_.notify_all();
}

void RewrapWorkers::run() {
    std::unique_lock lock(mutex_);
    bool complained = false;
    while (!stopping_) {
        const std::uint64_t seen = wakes_;
        lock.unlock();
        milliseconds pause = rewrap_idle;
        try {
            pause = work_.step();
            complained = false;
        } catch (const std::exception& error) {
            if (!std::exchange(complained, true))
                log_.error("the rewrap worker can't go on", {{"reason", error.what()}});
        }
        lock.lock();
        changed_.wait_for(lock, pause, [&] { return stopping_ || wakes_ != seen; });
    }
}

}  // namespace vault
