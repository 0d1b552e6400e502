// How results and errors look on the wire: one function each, used by both daemons.
#pragma once

#include "base/error.h"
#include "base/json.h"
#include "base/uuid.h"
#include "server/request.h"

namespace server {

// The one table of codes and statuses.
unsigned http_status(base::ErrorCode code) noexcept;

Response json_answer(base::JsonWriter body, unsigned status = 200);

// {"error":{"code":…,"message":…,"request_id":…}}; `detail` stays inside. resource_exhausted and
// unavailable carry Retry-After: 1.
Response error_answer(const base::Error& error, const base::Uuid& request_id);

}  // namespace server
