// What may be asked of rewrap jobs: begin, show, cancel. Every method takes the Grant of its action
// and works on what the grant names. The moving itself is vault/rewrap_work. No HTTP in here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.h"
#include "server/authorizer.h"
#include "vault/data_keys.h"
#include "vault/rewrap_store.h"

namespace vault {

// The resource of one job, for the Authorizer; "*" for beginning one and for lists.
server::Resource rewrap_job_resource(const std::string& id);

// Thread-safe. References must outlive it. Every method may throw unavailable and throws internal
// for a grant of another action.
class RewrapService {
public:
    RewrapService(RewrapStore& store, DataKeys& keys, const base::Clock& clock);

    // Begins a job that moves every stored version of every credential to the version of the master
    // key that is the newest now; `per_second` records at most, 0: no limit. Throws
    // failed_precondition while another job is not over.
    RewrapJob start(const server::Grant& grant, std::uint64_t per_second,
                    const std::string& traceparent);

    RewrapJobPage list(const server::Grant& grant, const std::optional<base::Uuid>& before,
                       std::size_t limit);

    // Throw not_found.
    RewrapJob describe(const server::Grant& grant);
    RewrapFailurePage failures(const server::Grant& grant, const RewrapPlace& after,
                               std::size_t limit);

    // Ends a job; what it moved stays moved. Throws not_found; failed_precondition when it is over.
    RewrapJob cancel(const server::Grant& grant);

    base::Time now() const { return clock_.now(); }

private:
    RewrapStore& store_;
    DataKeys& keys_;
    const base::Clock& clock_;
};

}  // namespace vault
