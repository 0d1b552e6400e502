// One end of a socket pair on which frames go back and forth, one at a time: a request, then its
// answer. Knows the length in front of a frame and nothing of what is in it. Frames may hold
// secrets: they are wiped as soon as they are sent or forgotten.
#pragma once

#include <chrono>

#include "hsm/child_process.h"
#include "hsm/worker_wire.h"

namespace hsm {

enum class Transfer {
    done,
    late,    // the patience ran out; the socket is of no use any more
    closed,  // the other side is gone
};

// No patience: waits for as long as it takes.
using Patience = std::chrono::milliseconds;
inline constexpr Patience endless{0};

// Not thread-safe.
class FrameSocket {
public:
    explicit FrameSocket(Descriptor socket);

    // Where a frame is written that is to be sent: with its length in front.
    WireBytes& outgoing() { return outgoing_; }
    // Sends outgoing() and wipes it, whatever comes of it.
    Transfer send(Patience patience);
    // Waits for one frame, which incoming() shows then, without its length. Throws internal when it
    // is longer than max_frame_bytes, or more than one came.
    Transfer receive(Patience patience);
    base::ByteView incoming() const;
    // Wipes what was received.
    void forget() noexcept;

    int descriptor() const noexcept { return socket_.get(); }

private:
    Transfer receive_more(std::size_t wanted, std::chrono::steady_clock::time_point end,
                          Patience patience);
    void set_first_wait(Patience patience);

    Descriptor socket_;
    WireBytes outgoing_;
    WireBytes incoming_;
    std::size_t received_ = 0;
    Patience first_wait_ = endless;  // what the socket is set to
};

// Passes one end of a socket pair to the process at the other end of `control`; false when it is
// gone. Throws unavailable when it takes none now.
bool pass_descriptor(int control, int passed);
// Waits for one; holds none when the other side is gone.
Descriptor receive_descriptor(int control);

}  // namespace hsm
