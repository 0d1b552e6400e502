#include "server/identity_methods.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "server/api_token_routes.h"
#include "server/identity_words.h"
#include "server/introspection.h"
#include "server/jwt_verifier.h"
#include "server/refresher.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t max_hash_file_bytes = 256;
constexpr std::chrono::seconds refresh_look{1};  // between two looks at the age of keys
constexpr int http_ok = 200;

// Files are the operator's: what is wrong with them is a precondition that failed.
template <typename Read>
auto read_named(const std::filesystem::path& file, Read read) {
    try {
        return read();
    } catch (const Error& error) {
        if (error.code() != ErrorCode::invalid_argument) throw;
        const bool is_named = error.message().find(file.string()) != std::string::npos;
        throw Error(ErrorCode::failed_precondition,
                    is_named ? error.message() : file.string() + ": " + error.message());
    }
}

std::vector<SharedSecretCaller> read_secret_callers(const SharedSecretConfig& config) {
    std::vector<SharedSecretCaller> callers;
    for (const auto& named : config.callers) {
        SharedSecretCaller caller{named.name, {}};
        for (const auto& file : named.hash_files) {
            caller.hashes.push_back(read_named(file, [&file] {
                return parse_shared_secret_hash(base::read_trusted_file(file, max_hash_file_bytes));
            }));
        }
        callers.push_back(std::move(caller));
    }
    return callers;
}

// Throws failed_precondition naming the file when it is no good set of keys.
void read_jwk_file(const std::filesystem::path& file) {
    read_named(file, [&file] { return JwkSet(base::read_trusted_file(file, max_jwk_set_bytes)); });
}

// `https` is null for a file.
JwksSource::Fetch fetch_of(const JwtIssuerConfig& issuer,
                           const std::shared_ptr<const HttpsClient>& https) {
    if (!https) {
        return [file = issuer.file] { return base::read_trusted_file(file, max_jwk_set_bytes); };
    }
    return [https] {
        const HttpsAnswer answer = https->get();
        if (answer.status != http_ok) {
            throw Error(ErrorCode::unavailable, "the issuer does not give its keys",
                        https->url() + ": status " + std::to_string(answer.status));
        }
        return std::string(answer.body);
    };
}

std::shared_ptr<ApiTokens> make_tokens(const ApiTokenConfig& config, Database& database,
                                       const base::Clock& clock) {
    return read_named(config.key_file, [&] {
        return std::make_shared<ApiTokens>(database, base::read_secret_file(config.key_file),
                                           clock);
    });
}

// Where no API tokens are made, what has their form is refused: it may be good at the other daemon,
// so no identity provider must get it.
class NoApiTokens final : public CredentialVerifier {
public:
    AuthenticationMethod method() const noexcept override {
        return AuthenticationMethod::api_token;
    }
    bool recognizes(std::string_view credential) const override {
        return credential.starts_with(api_token_start);
    }
    Caller verify(std::string_view /*credential*/) override { refuse_credential("token_unknown"); }
};

std::shared_ptr<Introspection> make_introspection(const IntrospectionConfig& config) {
    const auto https = std::make_shared<const HttpsClient>(config.https);
    return std::make_shared<Introspection>(
        [https](std::string_view bearer) { return https->get("/users/me", bearer); }, config.rules);
}

}  // namespace

struct IdentityMethods::State {
    State(const IdentityConfig& the_config, Database& database, const Authorizer& the_authorizer,
          const base::Clock& clock, base::Log& the_log)
        : config(the_config),
          authorizer(the_authorizer),
          log(the_log),
          tokens(config.api_tokens ? make_tokens(*config.api_tokens, database, clock) : nullptr),
          authenticator(build(clock)),
          refresher(looks(), refresh_look) {}

    // A fetch under way would hold the end of the program up.
    ~State() {
        refresher.stop();
        for (const auto& https : fetched) https->cancel();
    }
    State(const State&) = delete;
    State& operator=(const State&) = delete;

    AuthenticatorParts build(const base::Clock& clock) {
        AuthenticatorParts parts;
        parts.client_certificates = config.client_certificates;
        parts.routes = config.routes;
        parts.caller_prefixes = {std::string(api_token_prefix), std::string(shared_secret_prefix)};
        if (tokens) {
            parts.bearers.push_back(tokens);
        } else {
            parts.bearers.push_back(std::make_shared<NoApiTokens>());
        }
        if (!config.jwt.empty()) {
            parts.bearers.push_back(std::make_shared<JwtVerifier>(make_issuers(), clock));
            for (const auto& issuer : config.jwt) {
                parts.caller_prefixes.push_back(issuer.rules.caller_prefix);
            }
        }
        if (config.introspection) {  // the last, since it takes every bearer
            parts.bearers.push_back(make_introspection(*config.introspection));
            parts.caller_prefixes.push_back(config.introspection->rules.caller_prefix);
        }
        if (config.shared_secrets) {
            secrets = std::make_shared<SharedSecrets>(read_secret_callers(*config.shared_secrets));
            parts.shared_secrets = secrets;
            parts.secret_headers = config.shared_secrets->headers;
        }
        return parts;
    }

    std::vector<JwtIssuer> make_issuers() {
        std::vector<JwtIssuer> issuers;
        for (const auto& issuer : config.jwt) {
            if (!issuer.https) read_jwk_file(issuer.file);
            std::shared_ptr<const HttpsClient> https;
            if (issuer.https) {
                fetched.push_back(https = std::make_shared<const HttpsClient>(*issuer.https));
            }
            auto source = std::make_shared<JwksSource>(issuer.rules.issuer, fetch_of(issuer, https),
                                                       issuer.times, log);
            source->refresh_if_due();
            sources.push_back(source);
            issuers.push_back({issuer.rules, source});
        }
        return issuers;
    }

    std::vector<std::function<void()>> looks() const {
        std::vector<std::function<void()>> all;
        for (const auto& source : sources) all.push_back([source] { source->refresh_if_due(); });
        return all;
    }

    // Everything is read before anything is put in force. What has a URL is asked by the refresher:
    // a reload must not wait for a network, nor a stop for a reload; the log says when an issuer
    // does not answer.
    std::map<std::string, std::string> reload() {
        std::vector<SharedSecretCaller> callers;
        if (secrets) callers = read_secret_callers(*config.shared_secrets);
        for (const auto& issuer : config.jwt) {
            if (!issuer.https) read_jwk_file(issuer.file);
        }
        if (secrets) secrets->replace(std::move(callers));
        for (std::size_t i = 0; i < sources.size(); ++i) {
            sources[i]->ask_anew();
            if (!config.jwt[i].https) sources[i]->refresh_if_due();
        }
        return {{"issuers", std::to_string(sources.size())}};
    }

    std::vector<std::filesystem::path> files() const {
        std::vector<std::filesystem::path> all;
        for (const auto& issuer : config.jwt) {
            if (!issuer.https) all.push_back(issuer.file);
        }
        if (!config.shared_secrets) return all;
        for (const auto& caller : config.shared_secrets->callers) {
            all.insert(all.end(), caller.hash_files.begin(), caller.hash_files.end());
        }
        return all;
    }

    const IdentityConfig config;
    const Authorizer& authorizer;
    base::Log& log;
    const std::shared_ptr<ApiTokens> tokens;           // null without them
    std::vector<std::shared_ptr<JwksSource>> sources;  // of config.jwt, in its order
    std::vector<std::shared_ptr<const HttpsClient>> fetched;
    std::shared_ptr<SharedSecrets> secrets;
    const Authenticator authenticator;
    Refresher refresher;
};

IdentityMethods::IdentityMethods(const IdentityConfig& config, Database& database,
                                 const Authorizer& authorizer, const base::Clock& clock,
                                 base::Log& log)
    : state_(std::make_unique<State>(config, database, authorizer, clock, log)) {}

IdentityMethods::~IdentityMethods() = default;

const Authenticator& IdentityMethods::authenticator() const { return state_->authenticator; }

std::vector<Route> IdentityMethods::routes(OrdersOnce* orders) const {
    if (!state_->tokens) return {};
    return api_token_routes(*state_->tokens, state_->authorizer,
                            state_->config.api_tokens->max_lifetime, orders);
}

ReloadStep IdentityMethods::reload_step() {
    return {"identity", state_->files(), [state = state_.get()] { return state->reload(); }};
}

namespace {

// That there could be one.
void check_https(const HttpsConfig& config) { const HttpsClient checked(config); }

}  // namespace

void check_identity_files(const IdentityConfig& config) {
    if (config.api_tokens) {
        read_named(config.api_tokens->key_file,
                   [&config] { return base::read_secret_file(config.api_tokens->key_file); });
    }
    if (config.shared_secrets) read_secret_callers(*config.shared_secrets);
    if (config.introspection) check_https(config.introspection->https);
    for (const auto& issuer : config.jwt) {
        if (issuer.https) {
            check_https(*issuer.https);
            continue;
        }
        read_jwk_file(issuer.file);
    }
}

void check_identity_routes(const IdentityConfig& config, const RouteTable& routes) {
    std::vector<std::string_view> patterns;
    for (const Route& route : routes.routes()) patterns.push_back(route.pattern);
    check_identity_routes(config, patterns);
}

void check_identity_routes(const IdentityConfig& config,
                           const std::vector<std::string_view>& patterns) {
    for (const RouteMethods& rule : config.routes) {
        const bool fits = std::any_of(
            patterns.begin(), patterns.end(),
            [&rule](std::string_view pattern) { return is_route_under(pattern, rule.path); });
        if (fits) continue;
        throw Error(ErrorCode::invalid_argument,
                    "\"identity.routes\" has the path " + rule.path + ", which fits no route");
    }
}

}  // namespace server
