// Who is calling: the rule that chooses between credentials, and the methods that ask nobody.
#include "server/identity.h"

#include <gtest/gtest.h>

#include "base/encoding.h"
#include "server/digest.h"
#include "server/identity_words.h"
#include "server/shared_secret.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

using server::AuthenticationMethod;

// Takes "<word>-good…", refuses everything else that starts with "<word>-".
class WordVerifier final : public server::CredentialVerifier {
public:
    WordVerifier(AuthenticationMethod method, std::string word)
        : method_(method), word_(std::move(word)) {}
    AuthenticationMethod method() const noexcept override { return method_; }
    bool recognizes(std::string_view credential) const override {
        return credential.starts_with(word_ + "-");
    }
    server::Caller verify(std::string_view credential) override {
        ++asked;
        if (!credential.starts_with(word_ + "-good")) server::refuse_credential("wrong");
        server::Caller caller;
        caller.id = word_ + ":x";
        caller.method = method_;
        caller.claims = {{"role", {"r"}}};
        return caller;
    }
    int asked = 0;

private:
    AuthenticationMethod method_;
    std::string word_;
};

class AuthenticatorTest : public testing::Test {
protected:
    server::Authenticator make(std::vector<server::RouteMethods> routes = {},
                               bool certificates = true) {
        server::AuthenticatorParts parts;
        parts.client_certificates = certificates;
        parts.bearers = {token_, jwt_};
        parts.shared_secrets = secret_;
        parts.secret_headers = {"x-secret", "x-other-secret"};
        parts.routes = std::move(routes);
        parts.caller_prefixes = {"token:", "jwt:"};
        return server::Authenticator(std::move(parts));
    }

    static server::Request request(const std::string& bearer = {}, const std::string& secret = {},
                                   const std::string& certificate = {}) {
        server::Request result;
        result.peer_address = "192.0.2.7";
        if (!bearer.empty()) result.headers["authorization"] = bearer;
        if (!secret.empty()) result.headers["x-secret"] = secret;
        if (!certificate.empty()) {
            result.certificate = std::make_shared<const server::PeerCertificate>(
                server::PeerCertificate{"CN=x", {certificate}, "ab"});
        }
        return result;
    }

    static std::string refusal(const server::Authenticator& authenticator,
                               const server::Request& request,
                               std::string_view pattern = "/v1/things") {
        try {
            authenticator.authenticate(request, pattern);
            return {};
        } catch (const base::Error& error) {
            EXPECT_EQ(error.code(), base::ErrorCode::unauthenticated);
            EXPECT_EQ(error.message(), "the credential is not accepted");
            return error.detail();
        }
    }

    std::shared_ptr<WordVerifier> token_ =
        std::make_shared<WordVerifier>(AuthenticationMethod::api_token, "token");
    std::shared_ptr<WordVerifier> jwt_ =
        std::make_shared<WordVerifier>(AuthenticationMethod::jwt, "jwt");
    std::shared_ptr<WordVerifier> secret_ =
        std::make_shared<WordVerifier>(AuthenticationMethod::shared_secret, "secret");
};

TEST_F(AuthenticatorTest, EveryMethodMakesTheSameKindOfCaller) {
    const auto authenticator = make();
    const auto expect = [&](const server::Request& request, std::string_view id,
                            AuthenticationMethod method) {
        const auto caller = authenticator.authenticate(request, "/v1/things");
        EXPECT_EQ(caller.id, id);
        EXPECT_EQ(caller.method, method);
        EXPECT_EQ(caller.address, "192.0.2.7");
    };
    expect(request("Bearer token-good"), "token:x", AuthenticationMethod::api_token);
    expect(request("bearer  jwt-good"), "jwt:x", AuthenticationMethod::jwt);
    expect(request({}, "secret-good"), "secret:x", AuthenticationMethod::shared_secret);
    expect(request({}, {}, "spiffe://t/app"), "spiffe://t/app",
           AuthenticationMethod::client_certificate);
}

TEST_F(AuthenticatorTest, AWrongCredentialIsRefusedThoughAnotherWouldPass) {
    const auto authenticator = make();
    const std::string good_certificate = "spiffe://t/app";
    EXPECT_EQ(refusal(authenticator, request("Bearer token-bad", {}, good_certificate)), "wrong");
    EXPECT_EQ(refusal(authenticator, request({}, "secret-bad", good_certificate)), "wrong");
    EXPECT_EQ(refusal(authenticator, request("Bearer token-good", "secret-good")),
              "two_credentials");
    EXPECT_EQ(refusal(authenticator, request("Bearer other", {}, good_certificate)),
              "unknown_form");
    for (const char* header :
         {"Basic dG9rZW4tZ29vZA==", "Bearer", "Bearer ", "token-good",
          "Bearer token-good, Bearer jwt-good", "Bearer token-good extra", "Bearertoken-good"}) {
        EXPECT_EQ(refusal(authenticator, request(header, {}, good_certificate)), "no_bearer")
            << header;
    }
    // There, though empty: it was meant to be one.
    server::Request empty = request({}, {}, good_certificate);
    empty.headers["authorization"] = "";
    EXPECT_EQ(refusal(authenticator, empty), "no_bearer");
}

TEST_F(AuthenticatorTest, ASecretComesByAnyOfItsHeadersButByOneAtATime) {
    const auto authenticator = make();
    server::Request other = request();
    other.headers["x-other-secret"] = "secret-good";
    EXPECT_EQ(authenticator.authenticate(other, "/v1/things").id, "secret:x");
    other.headers["x-secret"] = "secret-good";
    EXPECT_EQ(refusal(authenticator, other), "two_credentials");
}

TEST_F(AuthenticatorTest, AUserStandsBesideASecretWhereTheRouteTakesOne) {
    const auto authenticator = make();
    const auto ask = [&](const server::Request& request) {
        return authenticator.authenticate_server(request, "/v1/things");
    };
    const auto both = ask(request("Bearer jwt-good", "secret-good", "spiffe://t/app"));
    EXPECT_EQ(both.caller.id, "secret:x");
    EXPECT_EQ(both.caller.claims.at("connection").at(0), "spiffe://t/app");
    ASSERT_TRUE(both.user);
    EXPECT_EQ(both.user->id, "jwt:x");
    EXPECT_EQ(both.user->address, "192.0.2.7");
    EXPECT_FALSE(ask(request({}, "secret-good")).user);
    // Nothing else stands in the secret's place.
    EXPECT_ERROR(unauthenticated, ask(request("Bearer jwt-good")));
    EXPECT_ERROR(unauthenticated, ask(request({}, {}, "spiffe://t/app")));
    EXPECT_ERROR(unauthenticated, ask(request()));
}

TEST_F(AuthenticatorTest, ASecretAndAUserAreBothGoodOrNobody) {
    const auto authenticator = make();
    const auto ask = [&](const server::Request& request) {
        return authenticator.authenticate_server(request, "/v1/things");
    };
    EXPECT_ERROR(unauthenticated, ask(request("Bearer jwt-bad", "secret-good")));
    EXPECT_ERROR(unauthenticated, ask(request("Basic x", "secret-good")));
    EXPECT_ERROR(unauthenticated, ask(request("Bearer other", "secret-good")));
    const int asked = jwt_->asked;
    EXPECT_ERROR(unauthenticated, ask(request("Bearer jwt-good", "secret-bad")));
    EXPECT_EQ(jwt_->asked, asked);  // a stranger's bearers are shown to nobody
    // What a route does not take it does not take for a user either.
    EXPECT_ERROR(unauthenticated,
                 make({{"/v1", {AuthenticationMethod::shared_secret}}})
                     .authenticate_server(request("Bearer jwt-good", "secret-good"), "/v1/x"));
}

TEST_F(AuthenticatorTest, WithoutAnyCredentialThereIsNobody) {
    EXPECT_EQ(refusal(make(), request()), "no_credential");
    EXPECT_EQ(refusal(server::Authenticator(), request()), "no_credential");
}

TEST_F(AuthenticatorTest, WithoutOtherMethodsOnlyCertificatesPass) {
    const server::Authenticator authenticator;
    EXPECT_EQ(refusal(authenticator, request({}, {}, "spiffe://t/app")), "");
    EXPECT_EQ(refusal(authenticator, request("Bearer token-good", {}, "spiffe://t/app")),
              "unknown_form");
    // A header that is nobody's credential is no credential.
    EXPECT_EQ(refusal(authenticator, request({}, "secret-good", "spiffe://t/app")), "");
}

TEST_F(AuthenticatorTest, ABearersCallerHasNothingOfTheCertificateButItsNameBeside) {
    const auto caller =
        make().authenticate(request("Bearer token-good", {}, "spiffe://t/gateway"), "/v1/things");
    EXPECT_EQ(caller.id, "token:x");
    const server::Claims expected = {{"connection", {"spiffe://t/gateway"}}, {"role", {"r"}}};
    EXPECT_EQ(caller.claims, expected);
}

TEST_F(AuthenticatorTest, ACertificateCantBearTheNameOfAnotherMethod) {
    const auto authenticator = make();
    EXPECT_EQ(refusal(authenticator, request({}, {}, "token:x")), "certificate_name");
    EXPECT_EQ(refusal(authenticator, request({}, {}, "jwt:alice")), "certificate_name");
    EXPECT_TRUE(authenticator.connected(request({}, {}, "token:x")).is_nobody());
}

TEST_F(AuthenticatorTest, TheLongestPathDecidesWhichMethodsARouteTakes) {
    const auto authenticator =
        make({{"/v1", {AuthenticationMethod::jwt}},
              {"/v1/keys", {AuthenticationMethod::client_certificate}},
              {"/v1/keys/{key}/sign",
               {AuthenticationMethod::api_token, AuthenticationMethod::shared_secret}}});
    const auto takes = [&](std::string_view pattern) {
        std::string methods;
        if (refusal(authenticator, request("Bearer token-good"), pattern).empty()) methods += 't';
        if (refusal(authenticator, request("Bearer jwt-good"), pattern).empty()) methods += 'j';
        if (refusal(authenticator, request({}, "secret-good"), pattern).empty()) methods += 's';
        if (refusal(authenticator, request({}, {}, "spiffe://t/app"), pattern).empty()) {
            methods += 'c';
        }
        return methods;
    };
    EXPECT_EQ(takes("/v1/data-keys/unwrap"), "j");
    EXPECT_EQ(takes("/v1/keys"), "c");
    EXPECT_EQ(takes("/v1/keys/{key}"), "c");
    EXPECT_EQ(takes("/v1/keyring"), "j");
    EXPECT_EQ(takes("/v1/keys/{key}/sign"), "ts");
    EXPECT_EQ(takes("/readyz"), "tjsc");
    // Refused before anybody is asked.
    const int asked = token_->asked;
    EXPECT_EQ(refusal(authenticator, request("Bearer token-good"), "/v1/keys"),
              "method_not_accepted");
    EXPECT_EQ(token_->asked, asked);
}

TEST_F(AuthenticatorTest, CertificatesCanBeLeftToTheConnection) {
    const auto authenticator = make({}, false);
    EXPECT_EQ(refusal(authenticator, request({}, {}, "spiffe://t/app")), "method_not_accepted");
    EXPECT_EQ(refusal(authenticator, request("Bearer token-good", {}, "spiffe://t/app")), "");
}

TEST_F(AuthenticatorTest, AChallengeSaysWhatTheRouteTakes) {
    const auto authenticator = make({{"/v1/keys", {AuthenticationMethod::client_certificate}}});
    EXPECT_EQ(authenticator.challenge(request(), "/v1/things"), R"(Bearer realm="strongroom")");
    EXPECT_EQ(authenticator.challenge(request("Bearer x"), "/v1/things"),
              R"(Bearer realm="strongroom", error="invalid_token")");
    EXPECT_EQ(authenticator.challenge(request("Bearer x"), "/v1/keys"),
              R"(TLS-Client-Certificate realm="strongroom")");
}

TEST(IdentityWords, PrefixesAndReservedClaims) {
    for (const char* good : {"jwt:", "a:b:", "x-1.y_z:"}) {
        EXPECT_TRUE(server::is_caller_prefix(good)) << good;
    }
    for (const char* bad : {"", ":", "jwt", "Jwt:", "j/t:", "a b:"}) {
        EXPECT_FALSE(server::is_caller_prefix(bad)) << bad;
    }
    EXPECT_FALSE(server::is_caller_prefix(std::string(64, 'a') + ":"));
    EXPECT_TRUE(server::is_reserved_claim("connection"));
    EXPECT_FALSE(server::is_reserved_claim("groups"));
}

TEST(SharedSecrets, AMadeSecretNamesItsCallerAndNoOtherDoes) {
    const auto one = server::make_shared_secret();
    const auto two = server::make_shared_secret();
    EXPECT_EQ(one.size(), 43U);
    EXPECT_FALSE(one.equals(two.expose()));
    const auto hash = [](const base::SecretBytes& secret) {
        return server::parse_shared_secret_hash(server::shared_secret_hash(secret.expose_text()) +
                                                "\n");
    };
    server::SharedSecrets secrets({{"sync", {hash(two), hash(one)}}, {"other", {hash(two)}}});
    const auto caller = secrets.verify(one.expose_text());
    EXPECT_EQ(caller.id, "secret:sync");
    EXPECT_EQ(caller.method, AuthenticationMethod::shared_secret);
    EXPECT_FALSE(secrets.recognizes(one.expose_text()));
    std::string altered(one.expose_text());
    altered.back() = altered.back() == 'A' ? 'B' : 'A';
    EXPECT_ERROR(unauthenticated, secrets.verify(altered));
    EXPECT_ERROR(unauthenticated, secrets.verify(std::string(one.expose_text()) + "A"));
    EXPECT_ERROR(unauthenticated, secrets.verify({}));

    secrets.replace({{"sync", {hash(two)}}});
    EXPECT_ERROR(unauthenticated, secrets.verify(one.expose_text()));
    EXPECT_EQ(secrets.verify(two.expose_text()).id, "secret:sync");
}

TEST(SharedSecrets, AShortOneIsNeitherHashedNorTaken) {
    const std::string short_one(31, 'x');
    EXPECT_ERROR_SAYING(invalid_argument, "32", server::shared_secret_hash(short_one));
    EXPECT_ERROR(invalid_argument, server::shared_secret_hash(std::string(1025, 'x')));
    EXPECT_ERROR(invalid_argument, server::shared_secret_hash(std::string(40, ' ')));
    EXPECT_NO_THROW(server::shared_secret_hash(short_one + "x"));
    const std::string hash = "sha256:" + server::Sha256().hex(short_one);
    server::SharedSecrets secrets({{"sync", {server::parse_shared_secret_hash(hash)}}});
    EXPECT_ERROR(unauthenticated, secrets.verify(short_one));
}

TEST(SharedSecrets, AHashFileHoldsAHashAndNothingElse) {
    const std::string good = server::shared_secret_hash(std::string(32, 'x'));
    EXPECT_EQ(server::parse_shared_secret_hash(good).size(), 32U);
    for (const std::string& text :
         {std::string(), std::string(64, 'a'), good + "a", good.substr(0, 70),
          std::string("sha256:") + std::string(64, 'G'), good + "\n" + good,
          std::string(43, 'x')}) {
        EXPECT_ERROR(invalid_argument, server::parse_shared_secret_hash(text));
    }
}

}  // namespace
}  // namespace tests
