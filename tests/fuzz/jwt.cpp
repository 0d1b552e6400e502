// A bearer token before anything of it is proven.
#include "server/jwt.h"
#include "tests/fuzz/only.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text = fuzz::text_of(data, size);
    static_cast<void>(server::claimed_issuer(text));
    fuzz::allow(base::ErrorCode::unauthenticated, [&] {
        const server::Jwt token = server::parse_jwt(text);
        fuzz::require(text.starts_with(token.signed_text) && !token.key_id.empty());
        server::JwtRules rules;
        rules.issuer = "https://issuer.example";
        rules.audiences = {"strongroom"};
        rules.caller_prefix = "jwt:";
        rules.claims = {{"roles", "/realm_access/roles"}};
        const server::Caller caller =
            server::caller_of(token, rules, base::from_milliseconds(1'800'000'000'000));
        fuzz::require(!caller.is_nobody() && caller.id.starts_with("jwt:"));
    });
    return 0;
}
