// Watches the key service's audit log for a program that makes some calls and ends: what the
// answers said is compared at once, the proof is asked for at the end. Several such programs may
// share the files (kms/witness/kept_notes), at the same time too: who asks and keeps has
//
//     <file>.lock       which stays, empty
//
// so that each proof leads on from the one that was kept last, whoever kept it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "kms/client/client.h"
#include "kms/witness/events.h"

namespace kms {

struct CommandWitnessConfig {
    std::filesystem::path file;
    std::filesystem::path audit_keys;  // as WitnessConfig has them; may be empty
    std::size_t nodes = 0;             // likewise
    std::string who = "this program";  // what messages call who watches
};

// Thread-safe.
class CommandWitness final : public AnswerWatch {
public:
    // Reads what was kept. Throws invalid_argument naming the file that makes no sense. `client` is
    // how to reach the key service; the witness has a connection of its own. `events` must outlive
    // it and is told within this and conclude(). The patience of unproven() is one try.
    CommandWitness(CommandWitnessConfig config, const ClientConfig& client, WitnessEvents& events);
    ~CommandWitness() override;
    CommandWitness(const CommandWitness&) = delete;
    CommandWitness& operator=(const CommandWitness&) = delete;

    // Throws unavailable once there is a conflict: nothing more is asked of that log's service.
    std::uint64_t before_call() override;
    // The answer itself is let through, since what was done is done. Never throws.
    void after_answer(std::uint64_t before, std::string_view head) override;

    // Behind the last answer: asks for what no signed checkpoint says yet, within the deadline of
    // one call all in all, and keeps it. Also where no answer named a checkpoint: that there is
    // none is said with unproven(). Whether there is a conflict.
    bool conclude();

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace kms
