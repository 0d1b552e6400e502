#include "vault/witness.h"

#include <charconv>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "server/checkpoint.h"
#include "server/checkpoint_file.h"
#include "server/merkle.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;
using server::Checkpoint;

constexpr std::size_t max_witness_bytes = 1024UL * 1024;
constexpr std::size_t max_proof_hashes = 64;
constexpr std::size_t max_note_text = 64UL * 1024;
constexpr std::string_view pem_end = "-----END PUBLIC KEY-----";
constexpr std::chrono::milliseconds witness_stop_bound{1000};

constexpr std::string_view shorter = "the audit log is shorter than it was";
constexpr std::string_view two_logs = "there are two audit logs of this name and size";
constexpr std::string_view not_signed = "a checkpoint is not signed by the audit key";

// A log contradicts what was seen of it.
struct Conflict {
    std::string reason;
    std::string origin;
    std::string kept;  // a signed note, or what the header said
    std::string seen;
};

std::vector<server::NoteKey> read_audit_keys(const std::filesystem::path& file) {
    std::vector<server::NoteKey> keys;
    if (file.empty()) return keys;
    const std::string text = base::read_trusted_file(file, max_witness_bytes);
    try {
        for (std::size_t begin = 0, end = 0; (end = text.find(pem_end, begin)) != std::string::npos;
             begin = end) {
            end += pem_end.size();
            keys.push_back(server::NoteKey::from_pem(text.substr(begin, end - begin)));
        }
    } catch (const Error& error) {
        throw Error(ErrorCode::invalid_argument, file.string() + ": " + error.message());
    }
    if (keys.empty()) {
        throw Error(ErrorCode::invalid_argument, file.string() + " holds no public key (PEM)");
    }
    return keys;
}

// "<origin> <size> <root>"; empty when it is none.
std::optional<Checkpoint> parse_head(std::string_view head) {
    const std::size_t last = head.rfind(' ');
    const std::size_t first = last == std::string_view::npos ? last : head.rfind(' ', last - 1);
    if (first == std::string_view::npos || first == 0) return std::nullopt;
    Checkpoint checkpoint;
    checkpoint.origin = head.substr(0, first);
    const std::string_view size = head.substr(first + 1, last - first - 1);
    const auto [end, error] =
        std::from_chars(size.data(), size.data() + size.size(), checkpoint.size);
    const auto root = base::parse_base64(head.substr(last + 1));
    if (error != std::errc() || end != size.data() + size.size() || !root ||
        root->size() != checkpoint.root.size()) {
        return std::nullopt;
    }
    std::copy(root->begin(), root->end(), checkpoint.root.begin());
    return checkpoint;
}

kms::ClientConfig own_client(kms::ClientConfig config) {
    config.watch = nullptr;
    config.max_connections = 1;
    return config;
}

}  // namespace

struct LogWitness::State {
    State(WitnessConfig the_config, const kms::ClientConfig& the_client,
          server::AuditLog& the_audit, server::Metrics& the_metrics, base::Log& the_log)
        : config(std::move(the_config)),
          keys(read_audit_keys(config.audit_keys)),
          client(own_client(the_client)),
          has_one_node(the_client.more_urls.empty()),
          audit(the_audit),
          metrics(the_metrics),
          log(the_log) {
        load();
    }

    void load();
    void refuse_conflict() const;
    std::uint64_t before_call();
    void after_answer(std::uint64_t before, std::string_view head);
    void run();

    // The witness's thread only.
    void ask();
    std::optional<Checkpoint> open(const std::string& note) const;
    std::optional<Conflict> judge(const std::string& note);
    struct Growth {
        std::optional<Conflict> conflict;
        std::optional<Checkpoint> now;  // proven to extend the one before; empty: not told
        std::string note;               // the signed one of `now`
    };
    base::JsonValue ask_proof(std::uint64_t size);
    Growth ask_growth(const Checkpoint& before, const std::string& evidence);
    std::optional<Conflict> judge_growth(const std::string& kept_note, const Checkpoint& kept);
    std::optional<Conflict> judge_header(const Checkpoint& now, const std::string& note);
    void keep(const Checkpoint& checkpoint, const std::string& note);
    void raise(const Conflict& found);
    void report(const Conflict& found);
    template <typename Say>
    void say(Say what);

    std::filesystem::path conflict_file() const { return config.file.string() + ".conflict"; }

    const WitnessConfig config;
    const std::vector<server::NoteKey> keys;
    kms::Client client;
    const bool has_one_node;  // of several each has a log of its own
    server::AuditLog& audit;  // this and the next two not to be touched once abandoned
    server::Metrics& metrics;
    base::Log& log;
    std::map<std::string, std::string> notes;  // by origin; the witness's thread only
    bool complained = false;                   // the witness's thread only
    std::optional<std::chrono::steady_clock::time_point> unproven_since;  // likewise

    struct Seen {
        Checkpoint checkpoint;
        std::uint64_t epoch = 0;  // calls that began with this number or a later one must know it
    };
    mutable std::mutex mutex;
    std::condition_variable wake;
    std::condition_variable ended;
    std::map<std::string, Seen> seen;
    std::string last_head;  // most answers say the same as the one before
    std::uint64_t epoch = 0;
    bool asked = false;
    std::optional<Conflict> conflict;
    bool raised = false;
    bool stopping = false;
    bool done = false;
    bool abandoned = false;
    std::thread thread;
};

void LogWitness::State::load() {
    if (std::filesystem::exists(config.file)) {
        const auto history =
            server::split_notes(base::read_file(config.file, max_witness_bytes)).notes;
        for (const std::string& note : history) {
            try {
                Checkpoint kept = server::parse_checkpoint_text(server::parse_note(note).text);
                notes[kept.origin] = note;
                seen[kept.origin] = {kept, 0};
            } catch (const Error& error) {
                throw Error(ErrorCode::invalid_argument,
                            config.file.string() + ": " + error.message());
            }
        }
    }
    if (std::filesystem::exists(conflict_file())) {
        conflict = Conflict{
            "the key service's audit log was in conflict with what this vault saw "
            "before; " +
                conflict_file().string() + " says more, and must go to go on",
            {},
            {},
            {}};
        log.error(conflict->reason);
        raised = true;
    }
    metrics.gauge("audit_witness_conflict", conflict ? 1 : 0);
}

// With `mutex` held.
void LogWitness::State::refuse_conflict() const {
    if (!conflict || !config.refuse) return;
    throw Error(ErrorCode::unavailable, "the key service's audit log contradicts itself",
                conflict->reason);
}

std::uint64_t LogWitness::State::before_call() {
    const std::lock_guard lock(mutex);
    refuse_conflict();
    return epoch;
}

void LogWitness::State::after_answer(std::uint64_t before, std::string_view head) {
    const std::lock_guard lock(mutex);
    // Found while this call was under way: its answer is of the same log.
    refuse_conflict();
    if (conflict || head == last_head) return;
    const auto now = parse_head(head);
    if (!now) {
        // An older key service, one without checkpoints, or one that hides them.
        if (seen.empty() || asked) return;
        asked = true;
        return wake.notify_one();
    }
    const auto place = seen.find(now->origin);
    const bool fresh = place == seen.end();
    if (!fresh && now->size <= place->second.checkpoint.size) {
        const Seen& known = place->second;
        const bool other_root =
            now->size == known.checkpoint.size && now->root != known.checkpoint.root;
        // An answer that was under way when this was learned may know less.
        const bool forgot = now->size < known.checkpoint.size && known.epoch <= before;
        if (!other_root && !forgot) return;
        conflict =
            Conflict{std::string(other_root ? two_logs : shorter), now->origin,
                     server::checkpoint_text(known.checkpoint), server::checkpoint_text(*now)};
        wake.notify_one();
        return refuse_conflict();
    }
    last_head = head;
    seen[now->origin] = {*now, ++epoch};
    if (now->size == 0) return;
    asked = true;
    wake.notify_one();
}

// The log, the metrics and the audit log may be gone once this was left behind.
template <typename Say>
void LogWitness::State::say(Say what) {
    const std::lock_guard lock(mutex);
    if (!abandoned) what();
}

// The checkpoint of a note, signed by one of the audit keys when there are any; empty when it is
// not.
std::optional<Checkpoint> LogWitness::State::open(const std::string& note) const {
    if (keys.empty()) return server::parse_checkpoint_text(server::parse_note(note).text);
    for (const server::NoteKey& key : keys) {
        try {
            return server::open_checkpoint(note, key);
        } catch (const Error& error) {
            if (error.code() != ErrorCode::integrity_failure) throw;
        }
    }
    return std::nullopt;
}

void LogWitness::State::keep(const Checkpoint& checkpoint, const std::string& note) {
    notes[checkpoint.origin] = note;
    std::string text;
    for (const auto& [origin, kept] : notes) text += kept + '\n';
    base::write_file_durably(config.file, text, 0600);
    const std::lock_guard lock(mutex);
    Seen& known = seen[checkpoint.origin];
    if (known.checkpoint.size >= checkpoint.size) return;
    known = {checkpoint, ++epoch};
    last_head.clear();  // it is of less than is known now
}

std::optional<Conflict> LogWitness::State::judge(const std::string& note) {
    const auto opened = open(note);
    if (!opened) return Conflict{std::string(not_signed), {}, {}, note};
    const Checkpoint& now = *opened;
    const auto place = notes.find(now.origin);
    if (place == notes.end()) {
        if (auto lie = judge_header(now, note)) return lie;
        keep(now, note);
        say([&] {
            log.info("the key service's audit log is watched from here on",
                     {{"origin", now.origin}, {"records", static_cast<std::int64_t>(now.size)}});
            audit.event("witness_new_log",
                        {{"origin", now.origin}, {"records", std::to_string(now.size)}});
        });
        return std::nullopt;
    }
    const std::string kept_note = place->second;
    const Checkpoint kept = server::parse_checkpoint_text(server::parse_note(kept_note).text);
    if (now.size > kept.size) return judge_growth(kept_note, kept);
    if (now.size < kept.size) {
        return Conflict{std::string(shorter), now.origin, kept_note, note};
    }
    if (now.root != kept.root) {
        return Conflict{std::string(two_logs), now.origin, kept_note, note};
    }
    return judge_header(now, note);
}

// What the header of an answer said is unsigned: it is held to the first signed checkpoint that is
// as large or larger.
std::optional<Conflict> LogWitness::State::judge_header(const Checkpoint& now,
                                                        const std::string& note) {
    std::optional<Checkpoint> said;
    {
        const std::lock_guard lock(mutex);
        if (const auto place = seen.find(now.origin); place != seen.end()) {
            said = place->second.checkpoint;
        }
    }
    if (!said || said->size == 0 || said->size > now.size) return std::nullopt;
    if (said->size == now.size) {
        if (said->root == now.root) return std::nullopt;
        return Conflict{std::string(two_logs), now.origin, server::checkpoint_text(*said), note};
    }
    const Growth growth = ask_growth(*said, server::checkpoint_text(*said));
    return growth.conflict;
}

std::optional<Conflict> LogWitness::State::judge_growth(const std::string& kept_note,
                                                        const Checkpoint& kept) {
    const Growth growth = ask_growth(kept, kept_note);
    if (growth.conflict || !growth.now) return growth.conflict;
    if (auto lie = judge_header(*growth.now, growth.note)) return lie;
    keep(*growth.now, growth.note);
    return std::nullopt;
}

// Another node's log may be shorter: that it has no proof is no answer, and who never has one is
// reported.
base::JsonValue LogWitness::State::ask_proof(std::uint64_t size) {
    try {
        return client.call("GET", "/v1/audit/proof?size=" + std::to_string(size), {});
    } catch (const Error& error) {
        if (error.code() != ErrorCode::not_found) throw;
        throw Error(ErrorCode::unavailable, "the key service gives no proof", error.message());
    }
}

// Asks the key service to prove that its log extends `before`, of which `evidence` tells.
LogWitness::State::Growth LogWitness::State::ask_growth(const Checkpoint& before,
                                                        const std::string& evidence) {
    const base::JsonValue answer = ask_proof(before.size);
    base::JsonReader reader(answer);
    Growth growth;
    growth.note = reader.required_string("checkpoint", max_note_text);
    const auto contradiction = [&](std::string_view reason) {
        growth.conflict = Conflict{std::string(reason), before.origin, evidence, growth.note};
        return growth;
    };
    const auto opened = open(growth.note);
    if (!opened) return contradiction(not_signed);
    if (opened->origin != before.origin) return growth;  // another node answered: next time
    server::MerkleProof proof;
    for (const auto& item : reader.required_array("proof", max_proof_hashes, 0)) {
        const auto hash =
            item.string() == nullptr ? std::nullopt : base::parse_base64(*item.string());
        if (!hash || hash->size() != server::MerkleHash().size()) {
            return contradiction("the proof is none");
        }
        std::copy(hash->begin(), hash->end(), proof.emplace_back().begin());
    }
    server::MerkleHasher hasher;
    if (opened->size < before.size ||
        !server::verify_consistency(before.size, before.root, opened->size, opened->root, proof,
                                    hasher)) {
        return contradiction("the audit log does not extend the one that was there before");
    }
    growth.now = opened;
    return growth;
}

void LogWitness::State::ask() {
    try {
        const auto found = judge(client.get_text("/v1/audit/checkpoint"));
        complained = false;
        unproven_since.reset();
        if (found) raise(*found);
    } catch (const Error& error) {
        // Of several key services one may be new: only what stays away is a conflict then.
        const bool hides = error.code() == ErrorCode::not_found && !notes.empty();
        // Away for a moment: the next answer makes us ask again. Away though it answers others,
        // refused, or not understood: an operator must know that nobody watches.
        const auto now = std::chrono::steady_clock::now();
        if (!unproven_since) unproven_since = now;
        const bool is_patient = now - *unproven_since < config.patience;
        if (hides && (has_one_node || !is_patient)) {
            return raise({"the key service shows no audit log any more",
                          notes.begin()->first,
                          notes.begin()->second,
                          {}});
        }
        const bool may_pass = hides || error.code() == ErrorCode::unavailable;
        if ((may_pass && is_patient) || std::exchange(complained, true)) return;
        say([&] {
            log.error("the key service's audit log can't be watched", {{"reason", error.what()}});
            metrics.count("audit_witness_failures");
        });
    }
}

void LogWitness::State::raise(const Conflict& found) {
    {
        const std::lock_guard lock(mutex);
        if (abandoned || raised) return;
        if (!conflict) conflict = found;
        raised = true;
    }
    say([&] { report(found); });
}

void LogWitness::State::report(const Conflict& found) {
    log.error("the key service's audit log contradicts what this vault saw of it",
              {{"reason", found.reason},
               {"origin", found.origin},
               {"kept", found.kept},
               {"seen", found.seen},
               {"vault_refuses", config.refuse}});
    metrics.count("audit_witness_conflicts");
    metrics.gauge("audit_witness_conflict", 1);
    try {
        const auto kept = notes.find(found.origin);
        base::write_file_durably(conflict_file(),
                                 found.reason + "\n\nkept:\n" +
                                     (kept == notes.end() ? found.kept : kept->second) +
                                     "\nseen:\n" + found.seen,
                                 0600);
        audit.event("witness_conflict", {{"reason", found.reason},
                                         {"origin", found.origin},
                                         {"kept", found.kept},
                                         {"seen", found.seen}});
    } catch (const Error& error) {
        log.error("the conflict can't be recorded", {{"reason", error.what()}});
    }
}

void LogWitness::State::run() {
    std::unique_lock lock(mutex);
    while (true) {
        wake.wait(lock, [this] { return stopping || (conflict ? !raised : asked); });
        if (stopping) break;
        if (conflict) {
            const Conflict found = *conflict;
            lock.unlock();
            raise(found);
            lock.lock();
            continue;
        }
        asked = false;
        lock.unlock();
        try {
            ask();
        } catch (const std::exception& error) {
            say([&] {
                log.error("the key service's checkpoint can't be kept", {{"reason", error.what()}});
            });
        }
        lock.lock();
        wake.wait_for(lock, config.interval, [this] { return stopping || (conflict && !raised); });
    }
    done = true;
    ended.notify_all();
}

LogWitness::LogWitness(WitnessConfig config, const kms::ClientConfig& client,
                       server::AuditLog& audit, server::Metrics& metrics, base::Log& log)
    : state_(std::make_shared<State>(std::move(config), client, audit, metrics, log)) {
    state_->thread = std::thread([state = state_] { state->run(); });
}

LogWitness::~LogWitness() {
    State& state = *state_;
    std::unique_lock lock(state.mutex);
    state.stopping = true;
    state.wake.notify_one();
    const bool done = state.ended.wait_for(lock, witness_stop_bound, [&] { return state.done; });
    state.abandoned = !done;
    lock.unlock();
    if (done) {
        state.thread.join();
    } else {
        state.thread.detach();
    }
}

std::uint64_t LogWitness::before_call() { return state_->before_call(); }

void LogWitness::after_answer(std::uint64_t before, std::string_view head) {
    state_->after_answer(before, head);
}

void LogWitness::check() const {
    const std::lock_guard lock(state_->mutex);
    if (state_->conflict) {
        throw Error(ErrorCode::unavailable, "the key service's audit log contradicts itself",
                    state_->conflict->reason);
    }
}

}  // namespace vault
