#include "kms/witness/command_witness.h"

#include <chrono>
#include <mutex>
#include <optional>
#include <utility>

#include "base/error.h"
#include "kms/witness/file_lock.h"
#include "kms/witness/kept_notes.h"
#include "kms/witness/log_judge.h"
#include "kms/witness/seen_heads.h"
#include "kms/witness/witness.h"

namespace kms {
namespace {

using base::Error;
using base::ErrorCode;

constexpr int deadline_parts = 4;  // the wait for the lock, and up to three calls

ClientConfig in_a_part_of_the_time(ClientConfig client) {
    client.deadline /= deadline_parts;
    return client;
}

}  // namespace

struct CommandWitness::State {
    State(CommandWitnessConfig the_config, const ClientConfig& client, WitnessEvents& the_events)
        : config(std::move(the_config)),
          patience(client.deadline / deadline_parts),
          logs(count_logs(config.nodes, client)),
          kept(config.file),
          judge(kept, config.audit_keys, in_a_part_of_the_time(client), logs),
          events(the_events),
          heads(logs) {
        for (const auto& checkpoint : kept.checkpoints()) heads.know(checkpoint);
        find_earlier_conflict();
    }

    void find_earlier_conflict();
    void ask_and_keep();
    void note_failure(const Error& error);

    const CommandWitnessConfig config;
    const std::chrono::milliseconds patience;
    const std::size_t logs;
    KeptNotes kept;
    LogJudge judge;
    WitnessEvents& events;

    std::mutex mutex;
    SeenHeads heads;
    bool heard = false;   // a head, with some answer
    bool missed = false;  // with some other
    bool asked = false;
    std::optional<LogConflict> conflict;
    bool raised = false;
};

void CommandWitness::State::find_earlier_conflict() {
    if (!kept.has_conflict()) return events.opened({});
    conflict = LogConflict{earlier_conflict(config.who, kept.conflict_file()), {}, {}, {}};
    raised = true;
    events.opened(conflict->reason);
}

void CommandWitness::State::ask_and_keep() {
    const FileLock lock(config.file.string() + ".lock",
                        std::chrono::steady_clock::now() + patience);
    // Another may have kept, or found, something meanwhile.
    kept.load();
    if (kept.has_conflict()) return find_earlier_conflict();
    auto found =
        judge.ask([this](const std::string& origin) { return heads.of(origin, heads.epoch()); });
    if (found.conflict) {
        conflict = std::move(found.conflict);
    } else if (found.is_new) {
        events.log_begun(*found.kept);
    }
}

// Behind one name may be several nodes, also without the witness's knowing: who named a checkpoint
// and shows none may be two, of which one is new.
void CommandWitness::State::note_failure(const Error& error) {
    auto hidden = judge.hides(error);
    if (hidden && logs == 1 && !heard) {
        conflict = std::move(hidden);
        return;
    }
    if (error.code() == ErrorCode::not_found && kept.empty() && !heard) {
        events.unproven(
            "it shows no checkpoints; its configuration must have \"checkpoints\" in \"audit\"");
        return;
    }
    events.unproven(why_unproven(error));
}

CommandWitness::CommandWitness(CommandWitnessConfig config, const ClientConfig& client,
                               WitnessEvents& events)
    : state_(std::make_unique<State>(std::move(config), client, events)) {}

CommandWitness::~CommandWitness() = default;

std::uint64_t CommandWitness::before_call() {
    const std::lock_guard lock(state_->mutex);
    if (state_->conflict) {
        throw Error(ErrorCode::unavailable, "the key service's audit log contradicts itself",
                    state_->conflict->reason);
    }
    return state_->heads.epoch();
}

void CommandWitness::after_answer(std::uint64_t before, std::string_view head) {
    const std::lock_guard lock(state_->mutex);
    if (state_->conflict) return;
    auto news = state_->heads.see(before, head);
    state_->conflict = std::move(news.conflict);
    state_->asked = state_->asked || news.is_worth_asking;
    (news.is_head ? state_->heard : state_->missed) = true;
}

bool CommandWitness::conclude() {
    State& state = *state_;
    const std::lock_guard lock(state.mutex);
    const bool hides = std::exchange(state.missed, false) && !state.heard;
    if (!state.conflict && (std::exchange(state.asked, false) || hides)) {
        try {
            state.ask_and_keep();
        } catch (const Error& error) {
            state.note_failure(error);
        }
    }
    if (state.conflict && !std::exchange(state.raised, true)) {
        report_conflict(*state.conflict, state.kept, state.events);
    }
    return state.conflict.has_value();
}

}  // namespace kms
