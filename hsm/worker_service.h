// The token worker's side of hsm/worker_protocol.h: opens the token in this process and does what
// it is asked, one thread to each channel. Everything but hsm::Token's operations is refused.
#pragma once

#include <atomic>
#include <functional>

#include "hsm/child_process.h"
#include "hsm/token_config.h"
#include "hsm/worker_wire.h"

namespace hsm {

// What each answer says beside its own. Safe to share between threads.
struct WorkerMarks {
    std::atomic<std::uint32_t> logins{1};
    std::atomic<bool> is_pin_refused{false};
};

// Does what the request in `frame` (without its length) asks of `token`, and writes the answer,
// with its length, to `out`: a refusal for what the token throws. Throws internal when the frame is
// none.
void answer_request(base::ByteView frame, Token& token, WorkerMarks& marks, WireBytes& out);

// Reads the opening from `control`, opens the token, then serves each channel that `control` passes
// until kmsd closes it. `before_serving` is called when the token is open and nothing was asked of
// it yet; what it throws counts as a failure to open. False when the token could not be opened,
// which kmsd was told. Channels on which a call hangs are left behind: the program must end without
// running destructors.
bool serve_worker(Descriptor control, const std::function<void(const TokenInfo&)>& before_serving);

}  // namespace hsm
