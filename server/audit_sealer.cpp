#include "server/audit_sealer.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/encoding.h"
#include "base/error.h"
#include "server/audit_housekeeping.h"
#include "server/audit_record.h"
#include "server/audit_segments.h"
#include "server/checkpoint_file.h"
#include "server/tiles.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;
using SteadyClock = std::chrono::steady_clock;

// Between two tries of a signer or a disk that fails.
constexpr std::chrono::milliseconds seal_retry{1000};
// Entries that are kept in memory before their tiles are written.
constexpr std::uint64_t flush_every = 4096;

struct Place {
    std::uint64_t sequence = 0;
    std::string hash;  // of the last line, hex
};

// The files are not what was written to them.
class Tampered : public Error {
public:
    explicit Tampered(const std::string& what) : Error(ErrorCode::failed_precondition, what) {}
};

[[noreturn]] void refuse_log(const AuditConfig& config, const std::string& what) {
    throw Error(ErrorCode::failed_precondition,
                "the audit log in " + config.directory.string() + " " + what +
                    "; keep the folder for an investigation (verifying it says more), and "
                    "give \"audit.directory\" an empty folder to go on");
}

}  // namespace

struct AuditSealer::State final : AuditFollower {
    State(AuditLog& the_log, std::unique_ptr<CheckpointSigner> the_signer, SealConfig the_config,
          const base::Clock& the_clock, base::Log& the_messages)
        : log(the_log),
          signer(std::move(the_signer)),
          config(std::move(the_config)),
          clock(the_clock),
          messages(the_messages),
          directory(log.config().directory),
          origin(log_origin(log.config().node, log.config().daemon)),
          tiles(directory),
          lines(directory, 1),
          file(directory),
          housekeeping(log, config, clock, messages) {
        if (!config.copy.empty()) copy.emplace(config.copy);
    }

    void durable(std::uint64_t sequence, const std::string& hash) override;
    void check() const override;

    // Constructor, then the sealer's thread only.
    void start();
    Checkpoint last_checkpoint();
    bool resume_from_tiles(const Checkpoint& last);
    bool recompute(const Checkpoint& last);
    void ingest(std::uint64_t until, bool chained);
    void seal(const Place& target);
    void store_copy(const std::string& text);
    void run();
    bool try_to_seal(const Place& target);
    template <typename Say>
    void say(Say what);

    AuditLog& log;  // this and the next not to be touched once abandoned
    const std::unique_ptr<CheckpointSigner> signer;
    const SealConfig config;
    const base::Clock& clock;
    base::Log& messages;
    const std::filesystem::path directory;
    std::string origin;
    TileWriter tiles;
    AuditLines lines;
    CheckpointFile file;
    std::optional<CheckpointFile> copy;
    std::string previous = first_previous();  // the hash of the last line that is in the tree
    AuditHousekeeping housekeeping;

    mutable std::mutex mutex;
    std::condition_variable wake;    // for the sealer's thread
    std::condition_variable sealed;  // for who waits for a checkpoint, and for the end
    Place reached;                   // durable
    std::uint64_t covered = 0;       // by the latest checkpoint
    std::string note;
    std::string head;  // of `note`
    std::optional<SteadyClock::time_point> pending_since;
    bool asked = false;
    bool failing = false;
    bool tampered = false;
    bool stopping = false;
    bool done = false;
    bool abandoned = false;
    std::uint64_t tries = 0;
    std::thread thread;
};

void AuditSealer::State::durable(std::uint64_t sequence, const std::string& hash) {
    const std::lock_guard lock(mutex);
    reached = {sequence, hash};
    if (sequence <= covered) return;
    const bool first = !pending_since;
    if (first) pending_since = SteadyClock::now();
    if (first || sequence - covered >= config.every_records) wake.notify_one();
}

void AuditSealer::State::check() const {
    const std::lock_guard lock(mutex);
    if (tampered) {
        throw Error(ErrorCode::unavailable, "the audit log can't be written",
                    "its files were changed by somebody else");
    }
    if (config.refuse_after.count() > 0 && pending_since &&
        SteadyClock::now() - *pending_since > config.every + config.refuse_after) {
        throw Error(ErrorCode::unavailable, "the audit log has no checkpoint for too long",
                    "the signer is away");
    }
}

template <typename Say>
void AuditSealer::State::say(Say what) {
    const std::lock_guard lock(mutex);
    if (!abandoned) what();
}

// The lines up to `until` into the tree. With `chained`, each must follow from the one before it.
void AuditSealer::State::ingest(std::uint64_t until, bool chained) {
    std::string_view line;
    try {
        while (lines.sequence() <= until) {
            const std::uint64_t sequence = lines.sequence();
            if (!lines.next(line)) {
                throw Tampered("the audit log ends before record " + std::to_string(sequence));
            }
            if (chained && !follows(line, previous)) {
                throw Tampered("record " + std::to_string(sequence) +
                               " of the audit log does not follow from the one before it");
            }
            previous = base::to_hex(tiles.append(line));
            if (tiles.size() % flush_every == 0) tiles.flush();
        }
    } catch (const Error& error) {
        if (error.code() == ErrorCode::failed_precondition) throw Tampered(error.message());
        throw;
    }
    lines.pause();
}

Checkpoint AuditSealer::State::last_checkpoint() {
    if (file.last().empty()) return {origin, 0, tiles.root()};
    try {
        return open_checkpoint(file.last(), NoteKey::from_der(signer->public_key()));
    } catch (const Error& error) {
        if (error.code() != ErrorCode::integrity_failure) throw;
        refuse_log(log.config(), "has a last checkpoint that the audit key did not sign (" +
                                     error.message() + ")");
    }
}

// Quick: only the records behind the last full tiles are hashed again. False when tiles are missing
// or do not lead to the checkpoint; the records themselves may still.
bool AuditSealer::State::resume_from_tiles(const Checkpoint& last) {
    // At least one line before the end, whose hash the next line names.
    const std::uint64_t from = (last.size - 1) / tile_width * tile_width;
    try {
        tiles.restore(from);
        lines = AuditLines(directory, from + 1);
        ingest(last.size, false);
    } catch (const Error& error) {
        if (error.code() != ErrorCode::failed_precondition) throw;
        return false;
    }
    return tiles.root() == last.root;
}

bool AuditSealer::State::recompute(const Checkpoint& last) {
    tiles.restore(0);
    lines = AuditLines(directory, 1);
    try {
        ingest(last.size, false);
    } catch (const Tampered&) {
        return false;
    }
    return tiles.root() == last.root;
}

void AuditSealer::State::start() {
    const Checkpoint last = last_checkpoint();
    origin = last.origin;
    if (reached.sequence < last.size) {
        refuse_log(log.config(), "ends with record " + std::to_string(reached.sequence) +
                                     ", but its last checkpoint covers " +
                                     std::to_string(last.size) + ": records are cut off");
    }
    if (last.size > 0 && !resume_from_tiles(last) && !recompute(last)) {
        refuse_log(log.config(), "is not the one that its last checkpoint covers: a record up to " +
                                     std::to_string(last.size) + " was changed or removed");
    }
    try {
        ingest(reached.sequence, true);
        if (previous != reached.hash) throw Tampered("its last record is not what was read first");
        tiles.flush();
    } catch (const Tampered& error) {
        refuse_log(log.config(), "was changed behind its last checkpoint: " + error.message());
    }
    if (last.size == 0 && reached.sequence > 0) {
        messages.info("the audit log gets checkpoints from now on",
                      {{"records", static_cast<std::int64_t>(reached.sequence)}});
    }
    note = file.last();
    head = checkpoint_head(last);
    covered = last.size;
    if (reached.sequence > covered) pending_since = SteadyClock::now();
}

void AuditSealer::State::store_copy(const std::string& text) {
    if (!copy) return;
    try {
        copy->add(text);
    } catch (const Error& error) {
        say([&] {
            messages.warning("the copy of the audit log's checkpoint can't be written",
                             {{"reason", error.what()}});
        });
    }
}

void AuditSealer::State::seal(const Place& target) {
    ingest(target.sequence, true);
    if (previous != target.hash) {
        throw Tampered("record " + std::to_string(target.sequence) +
                       " of the audit log is not what was written");
    }
    tiles.flush();
    const Checkpoint checkpoint{origin, tiles.size(), tiles.root()};
    std::string text = sign_checkpoint(checkpoint, *signer);
    file.add(text);
    store_copy(text);
    const std::lock_guard lock(mutex);
    covered = target.sequence;
    note = std::move(text);
    head = checkpoint_head(checkpoint);
    pending_since.reset();
    if (reached.sequence > covered) pending_since = SteadyClock::now();
}

// True when there is a checkpoint now.
bool AuditSealer::State::try_to_seal(const Place& target) {
    try {
        seal(target);
        if (std::exchange(failing, false)) {
            say([&] { messages.info("checkpoints of the audit log are signed again"); });
        }
        return true;
    } catch (const Tampered& error) {
        {
            const std::lock_guard lock(mutex);
            tampered = true;
        }
        say([&] {
            messages.error("the audit log was changed by somebody else; nothing is served any more",
                           {{"reason", error.message()}});
        });
    } catch (const std::exception& error) {
        if (!std::exchange(failing, true)) {
            say([&] {
                messages.error(
                    "a checkpoint of the audit log can't be made; records are written "
                    "without one until then",
                    {{"reason", error.what()}});
            });
        }
    }
    return false;
}

void AuditSealer::State::run() {
    std::unique_lock lock(mutex);
    while (!tampered) {
        wake.wait(lock, [this] { return stopping || asked || pending_since.has_value(); });
        if (!stopping && !asked && pending_since) {
            wake.wait_until(lock, *pending_since + config.every, [this] {
                return stopping || asked || reached.sequence - covered >= config.every_records;
            });
        }
        const bool last_try = stopping;
        asked = false;
        if (reached.sequence > covered) {
            const Place target = reached;
            lock.unlock();
            const bool good = try_to_seal(target);
            if (good && !last_try) housekeeping.covered(target.sequence);
            lock.lock();
            if (!good && !last_try && !tampered) {
                wake.wait_for(lock, seal_retry, [this] { return stopping; });
            }
        }
        ++tries;
        sealed.notify_all();
        if (last_try) break;
    }
    done = true;
    sealed.notify_all();
}

AuditSealer::AuditSealer(AuditLog& log, std::unique_ptr<CheckpointSigner> signer, SealConfig config,
                         const base::Clock& clock, base::Log& messages)
    : state_(std::make_shared<State>(log, std::move(signer), std::move(config), clock, messages)) {
    log.follow(state_.get());
    try {
        state_->start();
    } catch (...) {
        log.follow(nullptr);
        throw;
    }
    state_->thread = std::thread([state = state_] { state->run(); });
}

AuditSealer::~AuditSealer() {
    State& state = *state_;
    bool done = false;
    {
        std::unique_lock lock(state.mutex);
        state.stopping = true;
        state.wake.notify_one();
        done = state.sealed.wait_for(lock, state.config.stop_bound, [&] { return state.done; });
    }
    state.log.follow(nullptr);
    state.housekeeping.stop();
    if (done) {
        state.thread.join();
        return;
    }
    {
        const std::lock_guard lock(state.mutex);
        state.messages.error(
            "the audit log ends without a last checkpoint: the signer or the disk took too long; "
            "the next start makes it");
        state.abandoned = true;
    }
    state.thread.detach();
}

std::string AuditSealer::checkpoint() const {
    const std::lock_guard lock(state_->mutex);
    return state_->note;
}

std::string AuditSealer::head() const {
    const std::lock_guard lock(state_->mutex);
    return state_->head;
}

void AuditSealer::seal_now() {
    std::unique_lock lock(state_->mutex);
    const std::uint64_t wanted = state_->reached.sequence;
    const auto sealed = [&] { return state_->covered >= wanted; };
    if (sealed()) return;
    state_->asked = true;
    state_->wake.notify_one();
    const std::uint64_t before = state_->tries;
    // The try that runs may be of an older place; the one after it is of this.
    state_->sealed.wait_for(lock, state_->config.stop_bound,
                            [&] { return sealed() || state_->done || state_->tries > before + 1; });
    if (!sealed()) {
        throw Error(ErrorCode::unavailable, "a checkpoint of the audit log can't be made now");
    }
}

RecordProof AuditSealer::prove(std::uint64_t sequence) const {
    RecordProof proof;
    {
        const std::lock_guard lock(state_->mutex);
        if (sequence == 0 || sequence > state_->covered) {
            throw Error(ErrorCode::not_found, "no checkpoint covers this record");
        }
        proof.checkpoint = state_->note;
    }
    const Checkpoint covering = parse_checkpoint_text(parse_note(proof.checkpoint).text);
    TileReader reader(state_->directory, covering.size);
    MerkleHasher hasher;
    proof.index = sequence - 1;
    proof.leaf = reader.leaf(proof.index);
    proof.path = inclusion_proof(proof.index, covering.size, reader.nodes(), hasher);
    return proof;
}

RecordEvidence AuditSealer::evidence(std::uint64_t index) const {
    RecordProof proof = prove(index + 1);
    AuditLines reader(state_->directory, index + 1);
    std::string_view line;
    if (!reader.next(line)) throw Error(ErrorCode::not_found, "the record was removed");
    return {std::string(line), index, std::move(proof.path), std::move(proof.checkpoint)};
}

MerkleProof AuditSealer::extends(std::uint64_t size, std::string& checkpoint) const {
    checkpoint = this->checkpoint();
    if (checkpoint.empty()) {
        throw Error(ErrorCode::not_found, "there is no checkpoint yet");
    }
    const Checkpoint covering = parse_checkpoint_text(parse_note(checkpoint).text);
    if (size > covering.size) {
        throw Error(ErrorCode::not_found, "no checkpoint is that large");
    }
    TileReader reader(state_->directory, covering.size);
    MerkleHasher hasher;
    return consistency_proof(size, covering.size, reader.nodes(), hasher);
}

std::string log_origin(std::string_view node, std::string_view daemon) {
    std::string origin(node);
    for (char& c : origin) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
        if (!plain) c = '-';
    }
    return origin + "/strongroom/" + std::string(daemon);
}

}  // namespace server
