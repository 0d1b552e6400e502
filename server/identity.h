// Turns what the network proved about a peer into a Caller. No rights are decided here.
#pragma once

#include "server/caller.h"
#include "server/request.h"

namespace server {

// The caller behind a request: a client certificate's first URI name (SPIFFE or another URI), else
// its subject; nobody without a certificate.
Caller identify(const Request& request);

}  // namespace server
