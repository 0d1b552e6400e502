#include "vault/rewrap_service.h"

#include "base/error.h"
#include "vault/actions.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;

void require_rewrap_grant(const server::Grant& grant, server::Action action) {
    if (grant.action() != action || grant.resource().kind != rewrap_job_kind) {
        throw Error(ErrorCode::internal, "an operation was called with the grant of another");
    }
}

Error no_such_job() { return {ErrorCode::not_found, "there is no such rewrap job"}; }

// What is no id is the id of no job.
base::Uuid job_of(const server::Grant& grant, server::Action action) {
    require_rewrap_grant(grant, action);
    const auto id = base::Uuid::parse(grant.resource().id);
    if (!id) throw no_such_job();
    return *id;
}

}  // namespace

server::Resource rewrap_job_resource(const std::string& id) {
    return {.kind = std::string(rewrap_job_kind), .id = id, .owner = {}, .aliases = {}, .tags = {}};
}

RewrapService::RewrapService(RewrapStore& store, DataKeys& keys, const base::Clock& clock)
    : store_(store), keys_(keys), clock_(clock) {}

RewrapJob RewrapService::start(const server::Grant& grant, std::uint64_t per_second,
                               const std::string& traceparent) {
    require_rewrap_grant(grant, start_rewrap_job);
    auto job = store_.add({.target = keys_.newest_now(traceparent),
                           .per_second = per_second,
                           .created_by = grant.caller().id,
                           .now = clock_.now()});
    if (!job) base::refuse("another rewrap job is under way: wait for its end, or cancel it");
    return *std::move(job);
}

RewrapJobPage RewrapService::list(const server::Grant& grant,
                                  const std::optional<base::Uuid>& before, std::size_t limit) {
    require_rewrap_grant(grant, describe_rewrap_job);
    return store_.list(before, limit);
}

RewrapJob RewrapService::describe(const server::Grant& grant) {
    auto job = store_.find(job_of(grant, describe_rewrap_job));
    if (!job) throw no_such_job();
    return *std::move(job);
}

RewrapFailurePage RewrapService::failures(const server::Grant& grant, const RewrapPlace& after,
                                          std::size_t limit) {
    const RewrapJob job = describe(grant);
    return store_.failures(job.id, after, limit);
}

RewrapJob RewrapService::cancel(const server::Grant& grant) {
    const base::Uuid id = job_of(grant, cancel_rewrap_job);
    const auto before = store_.find(id);
    if (!before) throw no_such_job();
    auto job = store_.cancel(id, clock_.now());
    if (!job) throw no_such_job();
    if (before->is_over() || job->state != RewrapState::cancelled) {
        base::refuse("the rewrap job is over, or about to be: it is " +
                     std::string(to_string(job->state)));
    }
    return *std::move(job);
}

}  // namespace vault
