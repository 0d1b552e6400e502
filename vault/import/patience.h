// Asking the vault again while it is away, or says that too much was asked at once: an import of
// hours should not end by a restart of a daemon.
#pragma once

#include <chrono>
#include <functional>

namespace vault {

// Runs `work` until it does not throw unavailable, resource_exhausted or quota_check_failed, with
// pauses that grow, no later than `limit` after the first time; then throws what it threw. `work`
// must be one that does no harm when it is done twice.
void with_patience(std::chrono::seconds limit, const std::function<void()>& work);

// Runs `work(0)` to `work(count - 1)` on up to `workers` threads. Throws what the first of them
// threw, when all have ended.
void in_parallel(std::size_t workers, std::size_t count,
                 const std::function<void(std::size_t)>& work);

}  // namespace vault
