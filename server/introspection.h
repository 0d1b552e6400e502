// Callers by asking their identity provider, as Directus answers: GET {url}/users/me with the
// caller's own bearer. A token that was revoked there stops here with the next request.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "server/credential_verifier.h"
#include "server/https_client.h"
#include "server/jwks_source.h"

namespace server {

struct IntrospectionRules {
    std::string caller_prefix = "directus:";  // before the user's id
    std::chrono::seconds cache{0};            // how long an answer counts; 0: each request asks
    std::size_t max_concurrent = 8;           // questions at once, so that a slow provider does not
                                              // hold every worker
    // … for one peer, so that one who sends what he likes does not hold every place.
    std::size_t max_concurrent_per_peer = 4;
};

class Introspection final : public CredentialVerifier {
public:
    // Asks with that bearer, within a bound of its own. Throws base::Error.
    using Ask = std::function<HttpsAnswer(std::string_view bearer)>;

    Introspection(
        Ask ask, IntrospectionRules rules,
        MonotonicClock clock = [] { return std::chrono::steady_clock::now(); });

    AuthenticationMethod method() const noexcept override {
        return AuthenticationMethod::introspection;
    }
    // Any bearer: what has no other method's form.
    bool recognizes(std::string_view /*credential*/) const override { return true; }

    // 200 with {"data":{"id":…,"role":…}} is a caller with the claims "user" and, when the role is
    // a text, "role". 401 and 403 are refused. Everything else (another status, an answer that
    // makes no sense, none in time, too many questions at once) throws unavailable: nobody is let
    // in, and a client with a good token learns that it may come again instead of throwing the
    // token away.
    Caller verify(std::string_view credential) override { return verify_from({}, credential); }
    Caller verify_from(std::string_view peer, std::string_view credential) override;

private:
    class Place;

    struct Known {
        Caller caller;
        std::chrono::steady_clock::time_point until;
    };
    std::optional<Caller> remembered(const std::string& key);
    void remember(const std::string& key, Known known);
    Caller ask(std::string_view peer, std::string_view credential);

    const Ask ask_;
    const IntrospectionRules rules_;
    const MonotonicClock clock_;
    std::mutex mutex_;
    std::size_t asking_ = 0;
    std::map<std::string, std::size_t, std::less<>> asking_by_peer_;
    std::map<std::string, Known, std::less<>> known_;  // by the bearer's SHA-256
};

}  // namespace server
