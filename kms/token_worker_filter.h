// Which system calls a token worker may still make once its token is open.
#pragma once

#include "hsm/token.h"

namespace kms {

// For all threads of this process and for what it starts, for good. What is not allowed fails with
// EPERM. No process is forked, which would copy PIN and module, or made in another namespace; a
// thread or another program may be begun.
//   SoftHSM       what it and this program are known to need: files, memory, threads, the sockets
//                 that are open, and to run the read-back program. No new socket.
//   other modules all but what no module has a use for: tracing and the memory of others, the
//                 kernel's keys, modules, mounts, namespaces. They may reach their device as they
//                 do.
// Throws unavailable when the kernel refuses the filter.
void restrict_system_calls(const hsm::TokenInfo& token);

}  // namespace kms
