#include "server/identity_config.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "server/api_tokens.h"
#include "server/config.h"
#include "server/identity_words.h"
#include "server/shared_secret.h"

namespace server {
namespace {

using base::JsonReader;
using std::chrono::seconds;

constexpr std::size_t max_issuers = 16;
constexpr std::size_t max_secret_callers = 100;
constexpr std::size_t max_hashes = 4;
constexpr std::size_t max_secret_headers = 4;  // beside the first
constexpr std::size_t max_route_rules = 100;
constexpr std::size_t max_audiences = 32;
constexpr std::size_t max_claims = 32;
constexpr std::size_t max_claims_bytes = 4096;
constexpr std::size_t max_identity_text_bytes = 512;
constexpr std::size_t max_word_bytes = 64;
constexpr std::int64_t day_seconds = 86'400;

seconds seconds_in(JsonReader& reader, std::string_view name, seconds standard, std::int64_t min,
                   std::int64_t max) {
    return seconds(reader.optional_integer(name, min, max).value_or(standard.count()));
}

// Runs `check` and lays what it complains about at the field's door.
template <typename Check>
void check_field(const JsonReader& reader, std::string_view name, Check check) {
    try {
        check();
    } catch (const base::Error& error) {
        reader.refuse(name, error.message());
    }
}

HttpsConfig read_https(JsonReader& reader, const std::filesystem::path& folder) {
    HttpsConfig config;
    config.url = reader.required_string("url", max_identity_text_bytes);
    if (reader.has("ca")) config.ca = required_path(reader, "ca", folder);
    config.deadline = std::chrono::milliseconds(
        reader.optional_integer("deadline_ms", 50, 30'000).value_or(config.deadline.count()));
    // What is wrong with the CA's file is found when it is used.
    check_field(reader, "url", [&config] { HttpsClient({config.url, {}}); });
    return config;
}

std::string read_prefix(JsonReader& reader, const std::string& standard) {
    std::string prefix(reader.optional_string("caller_prefix", max_word_bytes).value_or(standard));
    if (!is_caller_prefix(prefix)) {
        reader.refuse("caller_prefix",
                      "must be of a-z, 0-9, '.', '-', '_' and ':' and end with ':'");
    }
    return prefix;
}

std::map<std::string, std::string> read_claims(JsonReader& reader) {
    auto claims = reader.optional_string_map("claims", max_claims, max_claims_bytes);
    for (const auto& [name, pointer] : claims) {
        if (!is_json_pointer(pointer)) {
            reader.refuse("claims", "must be JSON pointers, such as \"/groups\"");
        }
        if (is_reserved_claim(name)) reader.refuse("claims", "has a name of the house: " + name);
    }
    return claims;
}

JwtIssuerConfig read_issuer(JsonReader reader, const std::filesystem::path& folder) {
    JwtIssuerConfig config;
    config.rules.issuer = reader.required_string("issuer", max_identity_text_bytes);
    config.rules.audiences =
        reader.optional_string_array("audiences", max_audiences, max_identity_text_bytes);
    if (config.rules.audiences.empty()) reader.refuse("audiences", "must name one at least");
    config.rules.caller_prefix = read_prefix(reader, "jwt:");
    config.rules.caller_claim =
        reader.optional_string("caller_claim", max_word_bytes).value_or("sub");
    config.rules.claims = read_claims(reader);
    config.rules.leeway = seconds_in(reader, "leeway_seconds", config.rules.leeway, 0, 300);
    if (const auto most = reader.optional_integer("max_lifetime_seconds", 1, 366 * day_seconds)) {
        config.rules.max_lifetime = seconds(*most);
    }
    JsonReader jwks = reader.required_object("jwks");
    if (jwks.has("file") == jwks.has("url")) reader.refuse("jwks", "must name a file or a URL");
    if (jwks.has("file")) {
        config.file = required_path(jwks, "file", folder);
        config.times.refresh = seconds(5);  // reading it again is cheap
        config.times.pause = seconds(1);
    } else {
        config.https = read_https(jwks, folder);
        config.https->max_bytes = max_jwk_set_bytes;
    }
    config.times.refresh =
        seconds_in(jwks, "refresh_seconds", config.times.refresh, 1, day_seconds);
    config.times.pause = seconds_in(jwks, "pause_seconds", config.times.pause, 1, 3600);
    config.times.keep = seconds_in(jwks, "keep_seconds", config.times.keep, 1, 7 * day_seconds);
    if (config.times.keep < config.times.refresh) {
        jwks.refuse("keep_seconds", "must be as long as refresh_seconds at least");
    }
    jwks.refuse_unknown();
    reader.refuse_unknown();
    return config;
}

std::vector<JwtIssuerConfig> read_issuers(JsonReader& identity,
                                          const std::filesystem::path& folder) {
    std::vector<JwtIssuerConfig> issuers;
    const auto* items = identity.optional_array("jwt", max_issuers, 1);
    if (items == nullptr) return issuers;
    std::set<std::string> names;
    for (std::size_t i = 0; i < items->size(); ++i) {
        issuers.push_back(
            read_issuer(JsonReader((*items)[i], identity.item_path("jwt", i)), folder));
        if (!names.insert(issuers.back().rules.issuer).second) {
            identity.refuse("jwt", "names an issuer twice");
        }
    }
    return issuers;
}

IntrospectionConfig read_introspection(JsonReader reader, const std::filesystem::path& folder) {
    IntrospectionConfig config;
    config.https = read_https(reader, folder);
    config.rules.caller_prefix = read_prefix(reader, config.rules.caller_prefix);
    config.rules.cache = seconds_in(reader, "cache_seconds", config.rules.cache, 0, 60);
    config.rules.max_concurrent = static_cast<std::size_t>(
        reader.optional_integer("max_concurrent", 1, 1024)
            .value_or(static_cast<std::int64_t>(config.rules.max_concurrent)));
    // Half of the places, unless it is said.
    config.rules.max_concurrent_per_peer = static_cast<std::size_t>(
        reader
            .optional_integer("max_concurrent_per_peer", 1,
                              static_cast<std::int64_t>(config.rules.max_concurrent))
            .value_or(static_cast<std::int64_t>((config.rules.max_concurrent + 1) / 2)));
    reader.refuse_unknown();
    return config;
}

std::string read_secret_header(const JsonReader& reader, std::string_view field, std::string name) {
    for (char& c : name) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) {
            reader.refuse(field, "must be of letters, digits and '-'");
        }
    }
    // These mean something already.
    for (const char* taken : {"authorization", "host", "content-type", "content-length", "expect",
                              "connection", "traceparent", "idempotency-key", "cookie"}) {
        if (name == taken) reader.refuse(field, "is taken by HTTP");
    }
    return name;
}

// The header of old, and those that other clients know.
std::vector<std::string> read_secret_headers(JsonReader& reader,
                                             const std::vector<std::string>& standard) {
    std::vector<std::string> headers = standard;
    if (const auto name = reader.optional_string("header", max_word_bytes)) {
        headers = {read_secret_header(reader, "header", std::string(*name))};
    }
    for (std::string& name :
         reader.optional_string_array("also", max_secret_headers, max_word_bytes)) {
        std::string header = read_secret_header(reader, "also", std::move(name));
        if (std::find(headers.begin(), headers.end(), header) != headers.end()) {
            reader.refuse("also", "names a header twice");
        }
        headers.push_back(std::move(header));
    }
    return headers;
}

SharedSecretConfig read_shared_secrets(JsonReader reader, const std::filesystem::path& folder) {
    SharedSecretConfig config;
    config.headers = read_secret_headers(reader, config.headers);
    const auto& callers = reader.required_array("callers", max_secret_callers);
    std::set<std::string> names;
    for (std::size_t i = 0; i < callers.size(); ++i) {
        JsonReader item(callers[i], reader.item_path("callers", i));
        SharedSecretConfig::OneCaller caller;
        caller.name = item.required_string("name", max_word_bytes);
        if (!is_token_name(caller.name)) {
            item.refuse("name", "must be of a-z, 0-9, '.', '-' and '_', at most 64");
        }
        if (!names.insert(caller.name).second) item.refuse("name", "stands twice");
        for (const std::string& file : item.optional_string_array("hash_files", max_hashes, 4096)) {
            caller.hash_files.push_back(
                (std::filesystem::absolute(folder) / file).lexically_normal());
        }
        if (caller.hash_files.empty()) item.refuse("hash_files", "must name one at least");
        item.refuse_unknown();
        config.callers.push_back(std::move(caller));
    }
    reader.refuse_unknown();
    return config;
}

std::vector<RouteMethods> read_routes(JsonReader& identity) {
    std::vector<RouteMethods> routes;
    const auto* items = identity.optional_array("routes", max_route_rules, 1);
    if (items == nullptr) return routes;
    std::set<std::string> paths;
    for (std::size_t i = 0; i < items->size(); ++i) {
        JsonReader item((*items)[i], identity.item_path("routes", i));
        RouteMethods rule;
        rule.path = item.required_string("path", max_identity_text_bytes);
        if (rule.path.front() != '/') item.refuse("path", "must begin with '/'");
        if (!paths.insert(rule.path).second) item.refuse("path", "stands twice");
        for (const std::string& word :
             item.optional_string_array("methods", max_word_bytes, max_word_bytes)) {
            const auto method = parse_authentication_method(word);
            if (!method || *method == AuthenticationMethod::none) {
                item.refuse("methods", "holds \"" + word + "\", which is no method");
            }
            rule.methods.insert(*method);
        }
        if (rule.methods.empty()) item.refuse("methods", "must name one at least");
        item.refuse_unknown();
        routes.push_back(std::move(rule));
    }
    return routes;
}

// A prefix that begins another one would let two methods name the same caller. Certificates' names
// begin with a scheme of their own.
void check_prefixes(const JsonReader& identity, const IdentityConfig& config) {
    std::vector<std::string> prefixes = {std::string(api_token_prefix),
                                         std::string(shared_secret_prefix),
                                         "spiffe:",
                                         "https:",
                                         "http:",
                                         "urn:"};
    for (const auto& issuer : config.jwt) prefixes.push_back(issuer.rules.caller_prefix);
    if (config.introspection) prefixes.push_back(config.introspection->rules.caller_prefix);
    for (std::size_t i = 0; i < prefixes.size(); ++i) {
        for (std::size_t k = 0; k < prefixes.size(); ++k) {
            if (i == k || !prefixes[i].starts_with(prefixes[k])) continue;
            identity.refuse("caller_prefix", "\"" + prefixes[i] + "\" begins like \"" +
                                                 prefixes[k] + "\": each method needs its own");
        }
    }
}

}  // namespace

IdentityConfig read_identity_config(JsonReader& top, const std::filesystem::path& folder) {
    IdentityConfig config;
    auto identity = top.optional_object("identity");
    if (!identity) return config;
    config.client_certificates = identity->optional_boolean("client_certificates").value_or(true);
    if (auto tokens = identity->optional_object("api_tokens")) {
        config.api_tokens = ApiTokenConfig{};
        config.api_tokens->key_file = required_path(*tokens, "key_file", folder);
        if (const auto days = tokens->optional_integer("max_days", 1, 3650)) {
            config.api_tokens->max_lifetime = std::chrono::days(*days);
        }
        tokens->refuse_unknown();
    }
    config.jwt = read_issuers(*identity, folder);
    if (auto introspection = identity->optional_object("introspection")) {
        config.introspection = read_introspection(std::move(*introspection), folder);
    }
    if (auto secrets = identity->optional_object("shared_secrets")) {
        config.shared_secrets = read_shared_secrets(std::move(*secrets), folder);
    }
    config.routes = read_routes(*identity);
    check_prefixes(*identity, config);
    identity->refuse_unknown();
    return config;
}

}  // namespace server
