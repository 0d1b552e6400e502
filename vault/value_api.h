// Sealing and opening for applications that keep their own database: shapes of requests and
// answers, and the question to the authorizer. What is done is vault/values.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "server/authorizer.h"
#include "server/metrics.h"
#include "server/route.h"
#include "vault/values.h"

namespace vault {

// The owner of a caller's values, by the caller's id. Who is not in here is an owner of its own,
// under its id. Callers that share values have one name here.
using ValueOwners = std::map<std::string, std::string>;

// References must outlive the API.
struct ValueApiParts {
    ValueService& service;
    const server::Authorizer& authorizer;
    server::Metrics& metrics;  // counts "plaintext_opened"
    ValueOwners owners{};
};

// Thread-safe. Its routes refer to it, so it stays where it is and outlives them.
class ValueApi {
public:
    explicit ValueApi(ValueApiParts parts);
    ValueApi(const ValueApi&) = delete;
    ValueApi& operator=(const ValueApi&) = delete;

    std::vector<server::Route> routes();

private:
    server::Response seal(server::Operation& operation, const server::Request& request);
    server::Response open(server::Operation& operation, const server::Request& request);
    void note_plaintext(server::Operation& operation, const std::vector<std::size_t>& items) const;

    ValueApiParts parts_;
};

}  // namespace vault
