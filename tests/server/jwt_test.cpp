// JSON Web Tokens: signatures, what is refused, and whom a token names.
#include "server/jwt.h"

#include <gtest/gtest.h>

#include "base/encoding.h"
#include "server/jwks_source.h"
#include "server/jwt_verifier.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_clock.h"
#include "tests/support/jwt_signer.h"

namespace tests {
namespace {

using server::JwtAlgorithm;
using namespace std::chrono_literals;

constexpr std::int64_t now_seconds = 1'800'000'000;  // FakeClock's

// The detail of the refusal; empty when nothing was refused.
template <typename Work>
std::string reason_of(Work work) {
    try {
        work();
        return {};
    } catch (const base::Error& error) {
        EXPECT_EQ(error.code(), base::ErrorCode::unauthenticated) << error.what();
        EXPECT_EQ(error.message(), "the credential is not accepted");
        return error.detail();
    }
}

bool verifies(std::string_view jwk, std::string_view token) {
    const auto key = server::JwtKey::from_jwk(base::parse_json(jwk));
    const std::size_t dot = token.rfind('.');
    const auto signature = base::parse_base64url(token.substr(dot + 1));
    return key && signature && key->verifies(token.substr(0, dot), *signature);
}

// Flips one bit of the signature.
std::string altered(std::string token) {
    const std::size_t at = token.rfind('.') + 1;
    token[at] = token[at] == 'A' ? 'B' : 'A';
    return token;
}

// With a byte more behind the signature.
std::string lengthened(const std::string& token) {
    const std::size_t at = token.rfind('.') + 1;
    auto signature = base::parse_base64url(token.substr(at)).value();
    signature.push_back(0);
    return token.substr(0, at) + base::to_base64url(signature);
}

constexpr std::string_view rfc7515_a2_key =
    R"({"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"})";
constexpr std::string_view rfc7515_a2_token =
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxl"
    "LmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh"
    "7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyW"
    "zO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZE"
    "Sc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGl"
    "UPQGe77Rw";
constexpr std::string_view rfc7515_a3_key =
    R"({"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})";
constexpr std::string_view rfc7515_a3_token =
    "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxl"
    "LmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlS"
    "ApmWQxfKTUJqPP3-Kg6NU1Q";
constexpr std::string_view rfc8037_a4_key =
    R"({"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})";
constexpr std::string_view rfc8037_a4_token =
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PG"
    "cvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

TEST(JwtKey, TheExamplesOfTheRfcsVerify) {
    EXPECT_TRUE(verifies(rfc7515_a2_key, rfc7515_a2_token));  // RFC 7515 appendix A.2
    EXPECT_TRUE(verifies(rfc7515_a3_key, rfc7515_a3_token));  // RFC 7515 appendix A.3
    EXPECT_TRUE(verifies(rfc8037_a4_key, rfc8037_a4_token));  // RFC 8037 appendix A.4
    EXPECT_FALSE(verifies(rfc7515_a2_key, altered(std::string(rfc7515_a2_token))));
    EXPECT_FALSE(verifies(rfc7515_a3_key, altered(std::string(rfc7515_a3_token))));
    EXPECT_FALSE(verifies(rfc8037_a4_key, altered(std::string(rfc8037_a4_token))));
}

TEST(JwtKey, EachAlgorithmVerifiesItsOwnSignaturesOnly) {
    for (const auto algorithm :
         {JwtAlgorithm::RS256, JwtAlgorithm::PS256, JwtAlgorithm::ES256, JwtAlgorithm::EdDSA}) {
        const JwtSigner signer("k", algorithm);
        const std::string token = signer.token("{}");
        EXPECT_TRUE(verifies(signer.jwk(), token)) << to_string(algorithm);
        EXPECT_FALSE(verifies(signer.jwk(), altered(token))) << to_string(algorithm);
        EXPECT_FALSE(verifies(signer.jwk(), token.substr(0, token.rfind('.') + 1)));
        EXPECT_FALSE(verifies(signer.jwk(), lengthened(token))) << to_string(algorithm);
    }
    // One RSA key, two algorithms: a signature of the one is none of the other.
    const JwtSigner signer("k", JwtAlgorithm::PS256);
    std::string other = signer.jwk();
    other.replace(other.find("PS256"), 5, "RS256");
    EXPECT_FALSE(verifies(other, signer.token("{}")));
}

TEST(JwtKey, WhatIsForSomethingElseIsLeftOut) {
    for (const char* jwk :
         {R"({"kty":"oct","k":"AAAA"})", R"({"kty":"EC","crv":"P-384","x":"AA","y":"AA"})",
          R"({"kty":"OKP","crv":"X25519","x":"AA"})", R"({"kty":"RSA","alg":"RS512"})",
          R"({"kty":"RSA","alg":"RSA-OAEP"})", R"({"kty":"RSA","alg":"none"})",
          R"({"kty":"RSA","alg":"HS256"})", R"({"kty":"RSA","use":"enc"})",
          R"({"kty":"RSA","key_ops":["encrypt"]})",
          R"({"kty":"EC","crv":"P-256","alg":"RS256"})"}) {
        EXPECT_FALSE(server::JwtKey::from_jwk(base::parse_json(jwk))) << jwk;
    }
}

TEST(JwtKey, MalformedWeakAndPrivateKeysAreRefused) {
    const std::string x = R"("x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU")";
    const std::string y = R"("y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")";
    const std::string ec = R"({"kty":"EC","crv":"P-256",)";
    const std::string n(342, 'B');
    for (const std::string& jwk :
         {ec + x + "}", ec + x + R"(,"y":"AAAA"})", ec + x + R"(,"y":"!"})",
          // not on the curve
          ec + x + R"(,"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5aE"})",
          ec + x + "," + y + R"(,"d":"AA"})", std::string(R"({"kty":"RSA","n":"AQAB","e":"AQAB"})"),
          R"({"kty":"RSA","n":")" + n + R"(","e":"AQ"})",
          R"({"kty":"RSA","n":")" + n + R"(","e":"AA"})", R"({"kty":"RSA","n":")" + n + R"("})",
          std::string(R"({"kty":"OKP","crv":"Ed25519","x":"AAAA"})"), std::string(R"({})")}) {
        EXPECT_ERROR(invalid_argument, server::JwtKey::from_jwk(base::parse_json(jwk)));
    }
}

TEST(JwkSet, KeepsKeysWithANameAndNeedsOneAtLeast) {
    const JwtSigner one("one");
    const JwtSigner two("two");
    const server::JwkSet set(
        jwk_set({one.jwk(), two.jwk(), R"({"kty":"oct","kid":"hmac","k":"AAAA"})"}));
    EXPECT_EQ(set.size(), 2U);
    EXPECT_NE(set.find("one"), nullptr);
    EXPECT_EQ(set.find("hmac"), nullptr);
    for (const std::string& text :
         {std::string("{}"), std::string(R"({"keys":[]})"), std::string("no JSON"),
          jwk_set({R"({"kty":"oct","kid":"hmac","k":"AAAA"})"}), jwk_set({one.jwk(), one.jwk()}),
          jwk_set({std::string(rfc7515_a3_key)})}) {
        EXPECT_ERROR(invalid_argument, server::JwkSet(text));
    }
}

// An issuer with one ES256 key, and the rules for its tokens.
class JwtTest : public testing::Test {
protected:
    JwtTest() {
        rules_.issuer = "https://issuer";
        rules_.audiences = {"kmsd", "strongroom"};
        rules_.caller_prefix = "jwt:";
        rules_.claims = {
            {"groups", "/groups"}, {"roles", "/realm_access/roles"}, {"odd", "/a~1b/c~0d"}};
    }

    server::JwtVerifier verifier() {
        auto source = std::make_shared<server::JwksSource>(
            rules_.issuer, [this] { return jwk_set({signer_.jwk()}); }, server::JwksTimes{}, log_);
        return {{{rules_, source}}, clock_};
    }
    std::string reason(const std::string& token) {
        auto method = verifier();
        return reason_of([&] { method.verify(token); });
    }
    // Claims that are good, but for `change`, which replaces or adds members.
    static std::string claims(const std::string& more = {}) {
        return R"({"iss":"https://issuer","sub":"alice","exp":)" +
               std::to_string(now_seconds + 300) + (more.empty() ? "" : "," + more) + "}";
    }
    static std::string good() { return claims(R"("aud":"kmsd")"); }
    static std::string timed(const std::string& times) {
        return R"({"iss":"https://issuer","sub":"alice","aud":"kmsd",)" + times + "}";
    }

    FakeClock clock_;
    base::Log log_{"test", base::LogLevel::error};
    JwtSigner signer_{"key-1"};
    server::JwtRules rules_;
};

TEST_F(JwtTest, AGoodTokenNamesItsCaller) {
    auto method = verifier();
    const auto caller = method.verify(signer_.token(
        claims(R"("aud":["other","strongroom"],"jti":"t-1","groups":["a","b"],)"
               R"("realm_access":{"roles":["reader"]},"a/b":{"c~d":"x"},"unnamed":"y")")));
    EXPECT_EQ(caller.id, "jwt:alice");
    EXPECT_EQ(caller.method, server::AuthenticationMethod::jwt);
    EXPECT_EQ(caller.credential, "t-1");
    const server::Claims expected = {{"groups", {"a", "b"}},
                                     {"issuer", {"https://issuer"}},
                                     {"odd", {"x"}},
                                     {"roles", {"reader"}}};
    EXPECT_EQ(caller.claims, expected);
}

// Whoever holds a token is its caller until it ends: what is kept of used ones is nothing, so that
// nodes need not share it. Short lives are the issuer's to give (a longer one can be refused).
TEST_F(JwtTest, ATokenCanBeReplayedUntilItEndsAndNotAfter) {
    auto method = verifier();
    const std::string token = signer_.token(claims(R"("aud":"kmsd","jti":"once")"));
    for (int i = 0; i < 3; ++i) EXPECT_EQ(method.verify(token).id, "jwt:alice");
    auto other_node = verifier();
    EXPECT_EQ(other_node.verify(token).id, "jwt:alice");
    clock_.advance(std::chrono::seconds(300 + 30 + 1));
    EXPECT_EQ(reason_of([&] { method.verify(token); }), "jwt_expired");
}

TEST_F(JwtTest, AnotherClaimCanNameTheCaller) {
    rules_.caller_claim = "client_id";
    auto method = verifier();
    EXPECT_EQ(method.verify(signer_.token(claims(R"("aud":"kmsd","client_id":"c-7")"))).id,
              "jwt:c-7");
    EXPECT_EQ(reason(signer_.token(good())), "jwt_caller");
}

TEST_F(JwtTest, EveryAlteredPartIsRefused) {
    const std::string token = signer_.token(good());
    ASSERT_EQ(reason(token), "");
    for (std::size_t i = 0; i < token.size(); i += 7) {
        std::string other = token;
        other[i] = other[i] == 'A' ? 'Q' : 'A';
        if (other == token) continue;
        EXPECT_NE(reason(other), "") << i;
    }
    EXPECT_EQ(reason(altered(token)), "jwt_signature");
    // Another token's claims under this signature.
    const std::string mighty = signer_.token(claims(R"("aud":"kmsd","groups":["admins"])"));
    EXPECT_EQ(reason(mighty.substr(0, mighty.rfind('.')) + token.substr(token.rfind('.'))),
              "jwt_signature");
}

TEST_F(JwtTest, NoneAndHmacAreRefusedWhateverTheyAreSignedWith) {
    const std::string header_start = R"({"kid":"key-1","alg":)";
    for (const char* name : {"\"none\"", "\"None\"", "\"NONE\"", "\"\"", "null", "7"}) {
        const std::string header = header_start + name + "}";
        EXPECT_EQ(reason(unsigned_token(header, good())), "jwt_algorithm") << name;
        EXPECT_EQ(reason(signer_.token(header, good())), "jwt_algorithm") << name;
    }
    // The public key as an HMAC secret: the classic of algorithm confusion.
    for (const char* name : {"HS256", "HS384", "HS512"}) {
        const std::string header = header_start + "\"" + name + "\"}";
        for (const std::string& secret : {signer_.public_pem(), signer_.jwk()}) {
            EXPECT_EQ(reason(hmac_token(header, good(), secret)), "jwt_algorithm") << name;
        }
    }
    EXPECT_EQ(reason(unsigned_token(R"({"kid":"key-1"})", good())), "jwt_algorithm");
}

TEST_F(JwtTest, TheAlgorithmIsTheKeysNotTheTokens) {
    for (const char* name : {"RS256", "PS256", "EdDSA"}) {
        const std::string header = R"({"kid":"key-1","alg":")" + std::string(name) + "\"}";
        EXPECT_EQ(reason(signer_.token(header, good())), "jwt_algorithm") << name;
    }
    for (const char* name : {"ES384", "ES512", "RS512", "es256", "ES256K"}) {
        const std::string header = R"({"kid":"key-1","alg":")" + std::string(name) + "\"}";
        EXPECT_EQ(reason(signer_.token(header, good())), "jwt_algorithm") << name;
    }
}

TEST_F(JwtTest, TheKeyIsTheIssuersNotTheTokens) {
    const JwtSigner stranger("key-1");
    EXPECT_EQ(reason(stranger.token(good())), "jwt_signature");
    EXPECT_EQ(reason(signer_.token(R"({"alg":"ES256","kid":"key-2"})", good())), "jwt_key_id");
    EXPECT_EQ(reason(signer_.token(R"({"alg":"ES256"})", good())), "jwt_key_id");
    EXPECT_EQ(reason(signer_.token(R"({"alg":"ES256","kid":7})", good())), "jwt_key_id");
    // A key that the token brings along is not looked at.
    EXPECT_EQ(reason(stranger.token(R"({"alg":"ES256","kid":"key-1","jwk":)" + stranger.jwk() + "}",
                                    good())),
              "jwt_signature");
}

TEST_F(JwtTest, HeadersThatMeanMoreAreRefused) {
    const auto with = [this](const std::string& more) {
        return reason(signer_.token(R"({"alg":"ES256","kid":"key-1",)" + more + "}", good()));
    };
    EXPECT_EQ(with(R"("crit":["b64"],"b64":false)"), "jwt_critical_header");
    EXPECT_EQ(with(R"("crit":[])"), "jwt_critical_header");
    EXPECT_EQ(with(R"("typ":"logout+jwt")"), "jwt_type");
    EXPECT_EQ(with(R"("typ":7)"), "jwt_type");
    EXPECT_EQ(with(R"("typ":"at+jwt")"), "");
    EXPECT_EQ(with(R"("x5u":"https://elsewhere")"), "");
    EXPECT_EQ(with(R"("alg":"ES256")"), "jwt_malformed");  // twice
}

TEST_F(JwtTest, TokensForOthersAreRefused) {
    EXPECT_EQ(reason(signer_.token(claims())), "jwt_audience");
    EXPECT_EQ(reason(signer_.token(claims(R"("aud":"vaultd")"))), "jwt_audience");
    EXPECT_EQ(reason(signer_.token(claims(R"("aud":["vaultd","KMSD"])"))), "jwt_audience");
    EXPECT_EQ(reason(signer_.token(claims(R"("aud":{"kmsd":true})"))), "jwt_audience");
    EXPECT_EQ(reason(signer_.token(R"({"iss":"https://other","sub":"a","aud":"kmsd","exp":9})")),
              "jwt_issuer");
    EXPECT_EQ(reason(signer_.token(R"({"sub":"a","aud":"kmsd","exp":9})")), "jwt_issuer");
    EXPECT_EQ(reason(signer_.token(R"({"iss":["https://issuer"],"aud":"kmsd"})")), "jwt_issuer");
}

TEST_F(JwtTest, TimesHoldWithTheLeewayAndNoLonger) {
    const auto at = [](std::int64_t offset) { return std::to_string(now_seconds + offset); };
    const auto why = [this](const std::string& times) {
        return reason(signer_.token(timed(times)));
    };
    EXPECT_EQ(why(R"("exp":)" + at(-29)), "");
    EXPECT_EQ(why(R"("exp":)" + at(-30)), "jwt_expired");
    EXPECT_EQ(why(R"("nbf":)" + at(30) + R"(,"exp":)" + at(60)), "");
    EXPECT_EQ(why(R"("nbf":)" + at(31) + R"(,"exp":)" + at(60)), "jwt_not_yet_valid");
    EXPECT_EQ(why(R"("iat":)" + at(31) + R"(,"exp":)" + at(60)), "jwt_not_yet_valid");
    EXPECT_EQ(why(R"("iat":1)"), "jwt_time");
    for (const char* time :
         {"\"1900000000\"", "1e10", "-1", "99999999999999999999", "null", "1.5"}) {
        EXPECT_EQ(why(R"("exp":)" + std::string(time)), "jwt_time") << time;
    }
}

TEST_F(JwtTest, ALongLifeIsRefusedWhereOneIsBounded) {
    rules_.max_lifetime = 1h;
    const auto why = [this](const std::string& times) {
        return reason(signer_.token(timed(times)));
    };
    const std::string now = std::to_string(now_seconds);
    EXPECT_EQ(why(R"("iat":)" + now + R"(,"exp":)" + std::to_string(now_seconds + 3600)), "");
    EXPECT_EQ(why(R"("iat":)" + now + R"(,"exp":)" + std::to_string(now_seconds + 3601)),
              "jwt_lifetime");
    EXPECT_EQ(why(R"("exp":)" + std::to_string(now_seconds + 60)), "jwt_lifetime");
}

TEST_F(JwtTest, AStepOfTheClockIsJudgedByTheNewTime) {
    const std::string token =
        signer_.token(timed(R"("iat":)" + std::to_string(now_seconds) + R"(,"exp":)" +
                            std::to_string(now_seconds + 300)));
    EXPECT_EQ(reason(token), "");
    clock_.advance(1h);
    EXPECT_EQ(reason(token), "jwt_expired");
    clock_.advance(-2h);
    EXPECT_EQ(reason(token), "jwt_not_yet_valid");
    clock_.advance(1h);
    EXPECT_EQ(reason(token), "");
}

TEST_F(JwtTest, NamesThatCouldLookLikeOthersNameNobody) {
    for (const char* name : {R"("")", R"("a\u0000b")", R"("a\nb")", "7", "null", R"(["a"])"}) {
        EXPECT_EQ(
            reason(signer_.token(R"({"iss":"https://issuer","aud":"kmsd","exp":1900000000,"sub":)" +
                                 std::string(name) + "}")),
            "jwt_caller")
            << name;
    }
}

TEST(JwtParse, AnyBytesAreRefusedWithoutQuotingThem) {
    for (const std::string& text :
         {std::string(), std::string("."), std::string(".."), std::string("..."),
          std::string("a.b.c"), std::string("e30.e30.e30"), std::string("e30.W10.AA"),
          std::string("e30=.e30.AA"), std::string("e30.e30"), std::string("\0.\0.\0", 5),
          std::string(20'000, 'A'), "e30." + std::string(13'000, 'A') + ".AA"}) {
        try {
            server::parse_jwt(text);
            ADD_FAILURE() << text;
        } catch (const base::Error& error) {
            EXPECT_EQ(error.code(), base::ErrorCode::unauthenticated);
            EXPECT_TRUE(error.detail() == "jwt_malformed" || error.detail() == "jwt_algorithm");
        }
        EXPECT_EQ(server::claimed_issuer(text), "");
    }
}

TEST(JwtParse, PointersAreRfc6901) {
    for (const char* good : {"/a", "/a/b", "/a~1b", "/~0", "/"}) {
        EXPECT_TRUE(server::is_json_pointer(good)) << good;
    }
    for (const char* bad : {"", "a", "/~", "/~2", "/a~"}) {
        EXPECT_FALSE(server::is_json_pointer(bad)) << bad;
    }
}

}  // namespace
}  // namespace tests
