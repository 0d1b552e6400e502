// /v1/rewrap-jobs: shapes of requests and answers, and the question to the authorizer; what is done
// is vault/rewrap_service and vault/rewrap_work.
#pragma once

#include <functional>
#include <vector>

#include "server/authorizer.h"
#include "server/route.h"
#include "vault/rewrap_service.h"

namespace vault {

// References must outlive the routes. `wake` is called when a job was begun.
struct RewrapApiParts {
    RewrapService& service;
    const server::Authorizer& authorizer;
    std::function<void()> wake;
    bool has_uncounted_copies = false;  // as RewrapParts has it
};

// Thread-safe. Its routes refer to it, so it stays where it is and outlives them.
class RewrapApi {
public:
    explicit RewrapApi(RewrapApiParts parts) : parts_(std::move(parts)) {}
    RewrapApi(const RewrapApi&) = delete;
    RewrapApi& operator=(const RewrapApi&) = delete;

    std::vector<server::Route> routes();

private:
    server::Response start(server::Operation& operation, const server::Request& request);
    server::Response list(server::Operation& operation, const server::Request& request);
    server::Response describe(server::Operation& operation, const server::Request& request);
    server::Response failures(server::Operation& operation, const server::Request& request);
    server::Response cancel(server::Operation& operation, const server::Request& request);
    server::Response answer(const RewrapJob& job, unsigned status) const;

    const RewrapApiParts parts_;
};

}  // namespace vault
