// How errors look to the clients of the services that came before: each shape has its own body.
// What went wrong is a base::Error everywhere else.
#pragma once

#include "base/error.h"
#include "server/request.h"

namespace vault::compat {

// {"success":false,"error":"…"}
server::Response shared_secret_error(const base::Error& error);

// {"error":"…"}
server::Response broker_error(const base::Error& error);

// Of both: over a budget is 429 with "error":"quota_exceeded" and "remaining"; a budget that can't
// be checked is 429, too, with "error":"quota_check_failed" and nothing remaining. Whoever has no
// credential reads "Unauthorized", whoever may not "Forbidden"; our own mistakes read "Internal
// error". All else is the error's message. Throws nothing.

}  // namespace vault::compat
