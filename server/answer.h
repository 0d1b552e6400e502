// How results and errors look on the wire: one function each, used by both daemons.
#pragma once

#include <functional>

#include "base/error.h"
#include "base/json.h"
#include "base/uuid.h"
#include "server/request.h"

namespace server {

// The one table of codes and statuses.
unsigned http_status(base::ErrorCode code) noexcept;

Response json_answer(base::JsonWriter body, unsigned status = 200);

// Status and body of an error for callers who know another shape than the house's. Throws nothing.
using ErrorShape = std::function<Response(const base::Error&)>;

// {"error":{"code":…,"message":…,"request_id":…}}, and "limit" and "remaining" of an Overrun;
// `detail` stays inside. What time heals (429, 503) carries Retry-After. With a `shape` status and
// body are the shape's.
Response error_answer(const base::Error& error, const base::Uuid& request_id,
                      const ErrorShape& shape = {});

}  // namespace server
