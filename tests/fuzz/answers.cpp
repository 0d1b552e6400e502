// What other services answer: keys of issuers, introspection, token endpoints, a Directus, kmsd to
// its clients. Each is refused in the one way that its callers know, or is sound in what counts.
// The first byte says which.
#include <algorithm>

#include "base/encoding.h"
#include "kms/client/answer.h"
#include "server/identity_words.h"
#include "server/introspection.h"
#include "server/jwk.h"
#include "tests/fuzz/only.h"
#include "vault/compat/directus_items.h"
#include "vault/compat/token_endpoints.h"

namespace {

using base::ErrorCode;

const std::string service = "the key service";

void check_jwks(std::string_view text) {
    fuzz::allow(ErrorCode::invalid_argument, [&] {
        const server::JwkSet keys(text);
        fuzz::require(keys.size() > 0);
        const base::JsonValue document = base::parse_json(text, {.bytes = text.size()});
        std::size_t found = 0;
        for (const base::JsonValue& jwk : *document.find("keys")->array()) {
            // What holds a private half is no key here.
            if (server::JwtKey::from_jwk(jwk)) fuzz::require(jwk.find("d") == nullptr);
            const auto* id = jwk.find("kid");
            const auto* key =
                id == nullptr || id->string() == nullptr ? nullptr : keys.find(*id->string());
            if (key == nullptr) continue;
            ++found;
            const base::Bytes signature(64, 7);
            fuzz::require(!key->verifies("text", signature));
        }
        fuzz::require(found >= keys.size());
    });
}

void check_introspection(std::string_view text) {
    server::Introspection introspection(
        [&](std::string_view /*bearer*/) {
            return server::HttpsAnswer{200, base::WipedString(text)};
        },
        {});
    fuzz::allow(ErrorCode::unavailable, [&] {
        const server::Caller caller = introspection.verify("bearer");
        fuzz::require(caller.id.starts_with("directus:") && server::is_sound_name(caller.id));
        for (const auto& [name, values] : caller.claims) {
            fuzz::require(name == "user" || name == "role");
            fuzz::require(values.size() == 1 && server::is_sound_name(values.front()));
        }
    });
}

void check_fresh_token(std::string_view text) {
    const base::Time asked = base::from_milliseconds(1'800'000'000'000);
    fuzz::allow(ErrorCode::invalid_argument, [&] {
        const auto token = vault::compat::parse_fresh_token(text, asked);
        fuzz::require(!token.access_token.empty());
        fuzz::require(!token.expires_at || *token.expires_at > asked);
        // It can be written, and is the same when it is read.
        if (token.expires_at)
            fuzz::require(base::parse_rfc3339(base::to_rfc3339(*token.expires_at)) ==
                          token.expires_at);
    });
}

void check_item(std::string_view text) {
    fuzz::require(!vault::compat::tells_version(text, 0) || !vault::compat::tells_version(text, 1));
    try {
        const auto item = vault::compat::parse_item(text);
        fuzz::require(item.version >= 1 && vault::compat::tells_version(text, item.version));
        fuzz::require(!vault::compat::tells_version(text, item.version + 1));
    } catch (const base::Error& error) {
        fuzz::require(error.code() == ErrorCode::invalid_argument ||
                      error.code() == ErrorCode::not_found ||
                      error.code() == ErrorCode::integrity_failure);
    }
}

// What a log or a terminal shows.
void require_shown_well(std::string_view text) {
    fuzz::require(text.size() <= 1200 && base::is_utf8(text));
    fuzz::require(std::none_of(text.begin(), text.end(),
                               [](char c) { return (c >= 0 && c < ' ') || c == '\x7f'; }));
}

template <typename Result>
void check_results(const std::vector<Result>& results, std::size_t count) {
    fuzz::require(results.size() == count);
    for (const Result& result : results) {
        if (const auto* error = std::get_if<base::Error>(&result))
            require_shown_well(error->what());
    }
}

void check_refusal(std::string_view text, int status) {
    const base::Error error = kms::to_error({status, base::WipedString(text), {}}, service);
    require_shown_well(error.message());
    require_shown_well(error.detail());
}

void check_kms(std::string_view text, std::size_t count) {
    const kms::Answer answer{200, base::WipedString(text), {}};
    fuzz::allow(ErrorCode::internal, [&] {
        const base::JsonValue body = kms::parse_answer(answer, service);
        const auto read = [](auto call) { fuzz::allow(ErrorCode::internal, call); };
        read([&] {
            for (const auto& key : kms::read_data_keys(body, count, true, service))
                fuzz::require(key.key_version > 0 && !key.wrapped.empty());
        });
        read([&] { static_cast<void>(kms::read_plaintext(body, service)); });
        read([&] {
            const auto read_one = kms::read_enveloped(body, "ciphertext", service);
            fuzz::require(read_one.key_version > 0 && !read_one.bytes.empty());
        });
        read([&] { check_results(kms::read_unwrap_results(body, count, service), count); });
        read([&] { check_results(kms::read_rewrap_results(body, count, service), count); });
        read([&] {
            const auto results = kms::read_committed_results(body, count, service);
            check_results(results, count);
            for (const auto& result : results) {
                if (const auto* made = std::get_if<kms::Enveloped>(&result))
                    fuzz::require(made->commitment.has_value());
            }
        });
    });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string_view text = fuzz::text_of(data + 1, size - 1);
    switch (data[0]) {
        case 'j':
            check_jwks(text);
            break;
        case 'i':
            check_introspection(text);
            break;
        case 't':
            check_fresh_token(text);
            break;
        case 'd':
            check_item(text);
            break;
        case 'e':
            check_refusal(text, 200 + static_cast<int>(text.size() % 400));
            break;
        default:
            check_kms(text, data[0] % 4U);
            break;
    }
    return 0;
}
