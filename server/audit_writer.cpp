#include "server/audit_writer.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "server/audit_record.h"
#include "server/merkle.h"

namespace server {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

// What may wait for a disk that fails, and how much of it is tried at a time.
constexpr std::size_t max_queued_records = 16384;
constexpr std::size_t max_queued_bytes = 64UL * 1024 * 1024;
constexpr std::size_t max_probe_records = 64;
constexpr std::size_t max_batch_records = 1024;
// Parts of that room: while more is taken nothing is begun, and no record is kept of what was not.
constexpr std::size_t half = 2;
constexpr std::size_t quarter = 4;
// A record that holds more memory than it needs, and more than this, gives back the rest.
constexpr std::size_t large_record_bytes = 64UL * 1024;
// Without new records a failed disk is tried again this often.
constexpr std::chrono::milliseconds retry_interval{250};

// What the log itself says once it had no room for records.
constexpr Action drop_records{"drop_records"};

struct Queued {
    AuditEntry entry;
    SteadyTime deadline;
    bool told_false = false;
    bool waited_for = true;       // false: the answer left without waiting, nothing is withheld
    bool may_be_withheld = true;  // false for a "withheld" record itself, and for a patient one
};

struct Call {
    AuditLog::Done done;
    std::uint64_t sequence;
};

void run(std::vector<Call>& calls) {
    for (Call& call : calls) {
        if (call.done) call.done(call.sequence);
    }
    calls.clear();
}

// Takes the callback out of `queued`, so that nobody else calls it. `sequence` as AuditLog::Done
// has it.
void tell(Queued& queued, std::uint64_t sequence, std::vector<Call>& calls) {
    if (queued.told_false) return;
    queued.told_false = sequence == 0;
    calls.push_back({std::exchange(queued.entry.done, nullptr), sequence});
}

}  // namespace

struct AuditWriter::State {
    State(AuditConfig the_config, std::unique_ptr<AuditFile> the_file, AuditChain the_chain,
          const base::Clock& the_clock, base::Log& the_log)
        : config(std::move(the_config)),
          file(std::move(the_file)),
          chain(std::move(the_chain)),
          clock(the_clock),
          log(the_log) {}

    // Writer's thread only.
    bool write_batch();
    void begin_segment();
    bool settle(const std::optional<base::Error>& failure, AuditChain reached);
    std::uint64_t settle_success(AuditChain reached, std::vector<Call>& calls);
    void settle_failure(std::vector<Call>& calls);
    Queued own_record(const Operation& operation, const Outcome& outcome) const;
    Queued withheld_record(const Queued& queued, std::uint64_t sequence) const;
    std::uint64_t tell_dropped();
    void take_batch();

    // Any thread, with `mutex` held.
    const Queued* oldest_waiting() const;
    void expire(SteadyTime now, std::vector<Call>& calls);
    bool is_taken_beyond(std::size_t part) const;
    void make_room_for(std::size_t records) noexcept;
    bool takes(const AuditEntry& entry) const;
    void enqueue(AuditEntry& entry);

    const AuditConfig config;
    const std::unique_ptr<AuditFile> file;  // writer's thread only
    AuditChain chain;                       // the writer changes it, with `calling` held
    MerkleHasher hasher;                    // writer's thread only
    bool rotation_fails = false;            // writer's thread only
    std::string lines;                      // writer's thread only
    base::Time batch_began{};               // writer's thread only
    const base::Clock& clock;               // not to be touched once abandoned
    base::Log& log;                         // not to be touched once abandoned

    // Held by the writer while it calls others (callbacks, log, clock). Taken before `mutex`.
    std::mutex calling;

    AuditFollower* follower = nullptr;  // set with both mutexes held

    mutable std::mutex mutex;
    std::condition_variable work;  // for the writer: records, retry or stop
    std::condition_variable
        deadline;  // for the bound's timer: stop, or the first record after a quiet time
    std::condition_variable finished;  // for the destructor
    std::vector<Queued> queue;
    // Of the batch being written, the vector and the fields are the writer's; the rest needs
    // `mutex`.
    std::vector<Queued> in_flight;
    std::size_t queued_bytes = 0;
    std::uint64_t appended = 0;
    std::uint64_t written = 0;
    std::uint64_t dropped = 0;           // not kept since the last record that said how many
    std::optional<SteadyTime> retry_at;  // set while the last write failed
    bool new_since_failure = false;
    bool hanging = false;  // a record passed its bound since the last success
    bool writer_waits = false;
    bool timer_sleeps = false;
    bool stopping = false;
    bool writer_done = false;
    bool abandoned = false;
};

const Queued* AuditWriter::State::oldest_waiting() const {
    for (const auto* entries : {&in_flight, &queue}) {
        const auto found = std::find_if(entries->begin(), entries->end(), [](const Queued& queued) {
            return !queued.told_false && queued.may_be_withheld;
        });
        if (found != entries->end()) return &*found;
    }
    return nullptr;
}

void AuditWriter::State::expire(SteadyTime now, std::vector<Call>& calls) {
    for (auto* entries : {&in_flight, &queue}) {
        for (Queued& queued : *entries) {
            if (queued.may_be_withheld && !queued.told_false && queued.deadline <= now) {
                tell(queued, 0, calls);
                hanging = true;
            }
        }
    }
}

bool AuditWriter::State::is_taken_beyond(std::size_t part) const {
    return queue.size() + in_flight.size() > max_queued_records / part ||
           queued_bytes > max_queued_bytes / part;
}

// What the memory does not suffice for is not taken.
void AuditWriter::State::make_room_for(std::size_t records) noexcept {
    const std::size_t wanted = queue.size() + records;
    for (const std::size_t capacity : {std::max(wanted, 2 * queue.capacity()), wanted}) {
        if (wanted <= queue.capacity()) return;
        try {
            queue.reserve(capacity);
        } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): as said above
        }
    }
}

bool AuditWriter::State::takes(const AuditEntry& entry) const {
    return !stopping && queue.size() < std::min(max_queued_records, queue.capacity()) &&
           queued_bytes + entry.fields.capacity() <= max_queued_bytes &&
           (entry.was_begun || !is_taken_beyond(quarter));
}

// There is room in the queue.
void AuditWriter::State::enqueue(AuditEntry& entry) {
    queued_bytes += entry.fields.capacity();
    ++appended;
    new_since_failure = true;
    const bool waited_for = entry.done != nullptr;
    const bool may_be_withheld = !entry.is_patient;
    AuditEntry taken{std::move(entry.fields), entry.request_id,
                     std::move(entry.action), std::exchange(entry.done, nullptr),
                     entry.was_begun,         entry.is_patient};
    queue.push_back({std::move(taken), std::chrono::steady_clock::now() + config.bound, false,
                     waited_for, may_be_withheld});
}

// Moves the next records to `in_flight`; `mutex` is held, and the log is not abandoned.
void AuditWriter::State::take_batch() {
    const std::size_t most = retry_at ? max_probe_records : max_batch_records;
    if (queue.size() <= most) {
        in_flight.swap(queue);
    } else {
        const auto cut = queue.begin() + static_cast<std::ptrdiff_t>(most);
        in_flight.assign(std::make_move_iterator(queue.begin()), std::make_move_iterator(cut));
        queue.erase(queue.begin(), cut);
    }
    new_since_failure = false;
    batch_began = clock.now();
}

// A log that can't be rotated is a log still: it grows on, and says so once.
void AuditWriter::State::begin_segment() {
    try {
        file->begin_segment_if_due(chain.sequence + 1, batch_began);
        rotation_fails = false;
    } catch (const std::exception& error) {  // memory, too
        const std::lock_guard calling_lock(calling);
        const std::lock_guard lock(mutex);
        if (!abandoned && !rotation_fails) log.warning(error.what());
        rotation_fails = true;
    }
}

// Makes the lines, writes them and tells who waits. False when the log was abandoned meanwhile.
bool AuditWriter::State::write_batch() {
    AuditChain reached = chain;
    std::optional<base::Error> failure;
    begin_segment();
    try {
        lines.clear();
        for (const Queued& queued : in_flight) {
            const std::size_t start = lines.size();
            append_audit_line(lines, ++reached.sequence, queued.entry.fields, reached.previous);
            reached.previous = line_hash(std::string_view(lines).substr(start), hasher);
            lines += '\n';
        }
        file->append(lines);
    } catch (const base::Error& error) {
        failure = error;
    } catch (const std::exception& error) {  // out of memory
        failure = base::Error(base::ErrorCode::unavailable, "the audit log can't be written",
                              error.what());
    }
    return settle(failure, std::move(reached));
}

bool AuditWriter::State::settle(const std::optional<base::Error>& failure, AuditChain reached) {
    std::vector<Call> calls;
    const std::lock_guard calling_lock(calling);
    bool changed = false;
    std::uint64_t told = 0;
    {
        const std::lock_guard lock(mutex);
        if (abandoned) return false;
        changed = failure.has_value() != retry_at.has_value();
        if (failure) {
            settle_failure(calls);
        } else {
            told = settle_success(std::move(reached), calls);
        }
    }
    if (!failure && follower != nullptr) follower->durable(chain.sequence, chain.previous);
    run(calls);
    if (changed && failure)
        log.error("the audit log can't be written", {{"detail", failure->detail()}});
    if (changed && !failure) log.info("the audit log is written again");
    if (told > 0) {
        log.error("more records came than can wait for the audit log; those were not kept",
                  {{"records", static_cast<std::int64_t>(told)}});
    }
    return true;
}

// How many records were said to be dropped.
std::uint64_t AuditWriter::State::settle_success(AuditChain reached, std::vector<Call>& calls) {
    std::vector<Queued> withheld;
    std::uint64_t sequence = chain.sequence;
    for (Queued& queued : in_flight) {
        ++sequence;
        queued_bytes -= queued.entry.fields.capacity();
        if (queued.told_false && queued.waited_for && queued.may_be_withheld)
            withheld.push_back(withheld_record(queued, sequence));
        tell(queued, sequence, calls);
    }
    written += in_flight.size();
    in_flight.clear();
    chain = std::move(reached);
    retry_at.reset();
    hanging = false;
    for (const Queued& queued : withheld) queued_bytes += queued.entry.fields.capacity();
    queue.insert(queue.begin(), std::make_move_iterator(withheld.begin()),
                 std::make_move_iterator(withheld.end()));
    return tell_dropped();
}

// Once for an outage, since none is dropped any more when so much room is free. What can't be said
// now (no memory, no randomness) is said after the next write. How many, or 0.
std::uint64_t AuditWriter::State::tell_dropped() {
    if (dropped == 0 || is_taken_beyond(quarter)) return 0;
    try {
        Operation operation(base::Uuid::random(), clock.now(), Caller{});
        operation.set_action(drop_records);
        operation.set_fact("records", std::to_string(dropped));
        queue.push_back(own_record(operation, {"failed", "unavailable", 0}));
    } catch (const std::exception&) {
        return 0;
    }
    queued_bytes += queue.back().entry.fields.capacity();
    return std::exchange(dropped, 0);
}

// Nothing of the batch stands in the file. Who waits is told at once: the next try may take long.
void AuditWriter::State::settle_failure(std::vector<Call>& calls) {
    in_flight.insert(in_flight.end(), std::make_move_iterator(queue.begin()),
                     std::make_move_iterator(queue.end()));
    queue.swap(in_flight);
    in_flight.clear();
    for (Queued& queued : queue) {
        if (queued.may_be_withheld) tell(queued, 0, calls);
    }
    retry_at = std::chrono::steady_clock::now() + retry_interval;
}

// Nobody waits for it.
Queued AuditWriter::State::own_record(const Operation& operation, const Outcome& outcome) const {
    Queued record;
    record.entry.fields = audit_fields(config, operation, outcome, clock.now());
    record.entry.request_id = operation.request_id();
    record.may_be_withheld = false;
    return record;
}

Queued AuditWriter::State::withheld_record(const Queued& queued, std::uint64_t sequence) const {
    Operation operation(queued.entry.request_id, clock.now(), Caller{});
    operation.set_action({queued.entry.action});
    operation.set_fact("withheld_sequence", std::to_string(sequence));
    return own_record(operation, {"withheld", "unavailable", 503});
}

AuditWriter::AuditWriter(AuditConfig config, std::unique_ptr<AuditFile> file, AuditChain chain,
                         const base::Clock& clock, base::Log& log)
    : state_(std::make_shared<State>(std::move(config), std::move(file), std::move(chain), clock,
                                     log)),
      writer_(write_loop, state_),
      bound_(bound_loop, state_) {}

AuditWriter::~AuditWriter() {
    State& state = *state_;
    bool done = false;
    {
        std::unique_lock lock(state.mutex);
        state.stopping = true;
        state.work.notify_one();
        std::uint64_t before = 0;
        do {  // as long as it gets on
            before = state.written;
            done = state.finished.wait_for(lock, state.config.bound,
                                           [&state] { return state.writer_done; });
        } while (!done && state.written != before);
    }
    std::vector<Call> calls;
    std::size_t dropped = 0;
    {
        const std::lock_guard calling_lock(state.calling);
        const std::lock_guard lock(state.mutex);
        state.abandoned = true;
        dropped = state.in_flight.size() + state.queue.size() + state.dropped;
        for (auto* entries : {&state.in_flight, &state.queue}) {
            for (Queued& queued : *entries) tell(queued, 0, calls);
        }
        state.deadline.notify_one();
    }
    run(calls);
    if (dropped > 0) {
        state.log.error("the audit log ends without its last records",
                        {{"records", static_cast<std::int64_t>(dropped)}});
    }
    bound_.join();
    if (done) {
        writer_.join();
    } else {
        writer_.detach();
    }
}

void AuditWriter::append_all(std::span<AuditEntry> entries) noexcept {
    State& state = *state_;
    std::size_t taken = 0;
    for (AuditEntry& entry : entries) {
        base::WipedString& fields = entry.fields;
        if (fields.capacity() > std::max(large_record_bytes, fields.size() + fields.size() / 4))
            fields.shrink_to_fit();
    }
    {
        const std::lock_guard lock(state.mutex);
        state.make_room_for(entries.size());
        for (AuditEntry& entry : entries) {
            if (state.takes(entry)) {
                state.enqueue(entry);
                ++taken;
            } else {
                ++state.dropped;
            }
        }
        if (taken > 0) {
            if (state.writer_waits) state.work.notify_one();
            if (state.timer_sleeps) state.deadline.notify_one();
        }
    }
    if (taken == entries.size()) return;
    for (AuditEntry& entry : entries) {  // of those that were taken it is empty
        if (entry.done) entry.done(0);
    }
}

void AuditWriter::check() const {
    const std::lock_guard lock(state_->mutex);
    if (state_->retry_at || state_->hanging) {
        throw base::Error(
            base::ErrorCode::unavailable, "the audit log can't be written",
            state_->hanging ? "the disk does not answer in time" : "the last write failed");
    }
    if (state_->is_taken_beyond(half)) {
        throw base::Error(base::ErrorCode::unavailable, "the audit log can't be written",
                          "too many records wait for the disk");
    }
    if (state_->follower != nullptr) state_->follower->check();
}

void AuditWriter::follow(AuditFollower* follower) {
    const std::lock_guard calling_lock(state_->calling);
    const std::lock_guard lock(state_->mutex);
    state_->follower = follower;
    if (follower != nullptr) follower->durable(state_->chain.sequence, state_->chain.previous);
}

std::uint64_t AuditWriter::records_written() const {
    const std::lock_guard lock(state_->mutex);
    return state_->written;
}

void AuditWriter::write_loop(const std::shared_ptr<State>& state) {
    std::unique_lock lock(state->mutex);
    while (true) {
        const auto has_work = [&state] {
            return state->stopping ||
                   (!state->queue.empty() && (!state->retry_at || state->new_since_failure));
        };
        state->writer_waits = true;
        if (state->retry_at) {
            state->work.wait_until(lock, *state->retry_at, has_work);
        } else {
            state->work.wait(lock, has_work);
        }
        state->writer_waits = false;
        const bool last_try = state->stopping && state->retry_at.has_value();
        if (state->queue.empty() && state->stopping) break;
        if (state->queue.empty()) continue;
        if (state->abandoned) return;
        state->take_batch();
        lock.unlock();
        if (!state->write_batch()) return;
        lock.lock();
        if (last_try && state->retry_at) break;  // no use in staying for a disk that still fails
    }
    state->writer_done = true;
    state->finished.notify_one();
}

// A record's deadline is never sooner than the bound from now, so that sleeping for the bound when
// nothing waits misses none; when nothing came in that time either, a new record wakes the timer.
void AuditWriter::bound_loop(const std::shared_ptr<State>& state) {
    std::unique_lock lock(state->mutex);
    while (!state->abandoned) {
        const std::uint64_t before = state->appended;
        const Queued* oldest = state->oldest_waiting();
        const auto until = oldest != nullptr
                               ? oldest->deadline
                               : std::chrono::steady_clock::now() + state->config.bound;
        state->deadline.wait_until(lock, until, [&state] { return state->abandoned; });
        if (state->abandoned) return;
        std::vector<Call> calls;
        state->expire(std::chrono::steady_clock::now(), calls);
        lock.unlock();
        run(calls);
        lock.lock();
        if (state->oldest_waiting() != nullptr || state->appended != before) continue;
        state->timer_sleeps = true;
        state->deadline.wait(
            lock, [&state, before] { return state->abandoned || state->appended != before; });
        state->timer_sleeps = false;
    }
}

}  // namespace server
