// Lists of credentials: an owner's by name, and what expires soon or has expired. Shapes of
// requests and answers, and the question to the authorizer; what is done is vault/service.
#pragma once

#include <vector>

#include "base/log.h"
#include "server/authorizer.h"
#include "server/route.h"
#include "vault/service.h"

namespace vault {

// Thread-safe. Its routes refer to it, so it stays where it is and outlives them; what it is made
// of outlives it.
class ListApi {
public:
    // `log` takes what is wrong with rows that can't be shown; null: nothing is logged.
    ListApi(CredentialService& service, const server::Authorizer& authorizer, base::Log* log)
        : service_(service), authorizer_(authorizer), log_(log) {}
    ListApi(const ListApi&) = delete;
    ListApi& operator=(const ListApi&) = delete;

    std::vector<server::Route> routes();

private:
    server::Response list(server::Operation& operation, const server::Request& request);
    server::Response list_all(server::Operation& operation, const server::Request& request);
    server::Response page_answer(server::Operation& operation, CredentialPage page, bool by_expiry);
    void note_unsound(server::Operation& operation, const std::vector<UnsoundCredential>& unsound);
    void log_unsound(const server::Operation& operation,
                     const std::vector<UnsoundCredential>& unsound);

    CredentialService& service_;
    const server::Authorizer& authorizer_;
    base::Log* const log_;
};

}  // namespace vault
