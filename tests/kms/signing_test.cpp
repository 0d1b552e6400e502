// Keys that sign or make MACs, below and on the wire.
#include "kms/signing.h"

#include <gtest/gtest.h>

#include "base/encoding.h"
#include "base/json.h"
#include "hsm/public_key.h"
#include "server/answer.h"
#include "tests/kms/key_service_rig.h"
#include "tests/support/expect_error.h"
#include "tests/support/fake_token.h"
#include "tests/support/openssl_verify.h"
#include "tests/support/token_fixture.h"

namespace tests {
namespace {

using base::as_bytes;
using hsm::KeyKind;

// Bodies and answers as the gate would pass them.
template <typename AnyToken>
class SigningRig : public testing::Test {
protected:
    virtual hsm::Token& token() = 0;

    KeyServiceRig& rig() {
        if (!rig_) rig_ = std::make_unique<KeyServiceRig>(token(), folder_.path());
        return *rig_;
    }
    server::Response call(const std::string& caller, server::Method method, const std::string& path,
                          std::string_view body = {}, const std::string& query = {}) {
        operation_ = std::make_unique<server::Operation>(operation_of(caller));
        server::Request request;
        request.method = method;
        request.path = path;
        request.query = query;
        request.body = body;
        if (!body.empty()) request.headers["content-type"] = "application/json";
        try {
            const auto match = rig().routes.match(method, path);
            request.path_parameters = match.parameters;
            return match.route->handler(*operation_, request);
        } catch (const base::Error& error) {
            return server::error_answer(error, base::Uuid());
        }
    }
    server::Response post(const std::string& caller, const std::string& path,
                          std::string_view body) {
        return call(caller, server::Method::POST, path, body);
    }
    // A key named alias/signing.
    base::Uuid make_key(KeyKind kind) {
        auto operation = operation_of("root");
        kms::NewKey wanted;
        wanted.alias = "signing";
        wanted.kind = kind;
        return rig().lifecycle.create(rig().grant(operation, kms::create_key, "*"), wanted).key->id;
    }
    static std::string member(const server::Response& response, std::string_view name) {
        const base::JsonValue answer = base::parse_json(response.body);
        const auto* found = answer.find(name);
        if (found == nullptr) return {};
        return found->string() != nullptr ? std::string(*found->string())
                                          : std::string(base::to_json(*found));
    }
    static base::Bytes from_base64(const std::string& text) {
        return base::parse_base64(text).value();
    }
    static base::Bytes from_pem(const std::string& pem) {
        std::string text;
        for (std::string_view rest = pem; !rest.empty();) {
            const auto line = rest.substr(0, rest.find('\n'));
            rest.remove_prefix(line.size() + 1);
            if (!line.starts_with("-----")) text += line;
        }
        return from_base64(text);
    }
    static std::string message_body(std::string_view message) {
        return R"({"message":")" + base::to_base64(as_bytes(message)) + "\"}";
    }
    static std::string proof_body(std::string_view message, const std::string& name,
                                  const std::string& proof, const std::string& more = {}) {
        return R"({"message":")" + base::to_base64(as_bytes(message)) + R"(",")" + name + R"(":")" +
               proof + "\"" + more + "}";
    }

    TemporaryDirectory folder_;
    std::unique_ptr<server::Operation> operation_;
    std::unique_ptr<KeyServiceRig> rig_;
};

class SigningTest : public SigningRig<FakeToken> {
protected:
    hsm::Token& token() override { return token_; }
    FakeToken token_;
};

class SoftHsmSigningTest : public SigningRig<hsm::Token> {
protected:
    hsm::Token& token() override { return *token_; }
    base::Log log_{"kmsd", base::LogLevel::error};
    SoftHsmToken fixture_;
    std::unique_ptr<hsm::Token> token_ = hsm::open_token(fixture_.config(), fixture_.pin(), log_);
};

TEST_F(SoftHsmSigningTest, OpensslVerifiesWhatEachKindSignsUnderThePublicKeyOfTheService) {
    const std::vector<std::tuple<KeyKind, OpensslScheme, std::string>> kinds{
        {KeyKind::ecdsa_p256, OpensslScheme::ecdsa_sha256, "ECDSA_SHA_256"},
        {KeyKind::ecdsa_p384, OpensslScheme::ecdsa_sha384, "ECDSA_SHA_384"},
        {KeyKind::ed25519, OpensslScheme::ed25519, "ED25519"},
        {KeyKind::rsa_pss_3072, OpensslScheme::rsa_pss_sha256, "RSA_PSS_SHA_256"}};
    for (const auto& [kind, scheme, algorithm] : kinds) {
        SCOPED_TRACE(algorithm);
        const auto created =
            post("root", "/v1/keys", R"({"kind":")" + std::string(to_string(kind)) + "\"}");
        ASSERT_EQ(created.status, 201U) << created.body;
        const std::string path = "/v1/keys/" + member(created, "id");
        const auto key = call("root", server::Method::GET, path + "/public-key");
        ASSERT_EQ(key.status, 200U) << key.body;
        const auto made = post("root", path + "/sign", message_body("a message"));
        ASSERT_EQ(made.status, 200U) << made.body;
        EXPECT_EQ(member(made, "algorithm"), algorithm);
        EXPECT_EQ(member(made, "key_version"), "1");
        EXPECT_TRUE(openssl_verifies(scheme, from_pem(member(key, "public_key")),
                                     as_bytes("a message"),
                                     from_base64(member(made, "signature"))));
        const auto verified = post("root", path + "/verify",
                                   proof_body("a message", "signature", member(made, "signature")));
        EXPECT_EQ(verified.body, R"({"valid":true,"key_version":1})");
    }
}

TEST_F(SoftHsmSigningTest, AMacVerifiesAndAnotherDoesNot) {
    make_key(KeyKind::hmac_sha_256);
    const auto made = post("root", "/v1/keys/alias/signing/mac", message_body("a message"));
    ASSERT_EQ(made.status, 200U) << made.body;
    EXPECT_EQ(member(made, "algorithm"), "HMAC_SHA_256");
    const std::string mac = member(made, "mac");
    EXPECT_EQ(from_base64(mac).size(), 32U);
    const std::string path = "/v1/keys/alias/signing/verify-mac";
    EXPECT_EQ(post("root", path, proof_body("a message", "mac", mac)).body,
              R"({"valid":true,"key_version":1})");
    EXPECT_EQ(post("root", path, proof_body("another", "mac", mac)).body, R"({"valid":false})");
    EXPECT_EQ(post("root", path, proof_body("a message", "mac", "")).body, R"({"valid":false})");
}

TEST_F(SigningTest, EveryUseIsShownWithItsTime) {
    const std::string key = "/v1/keys/" + make_key(KeyKind::hmac_sha_256).to_string();
    const auto describe = [&] { return call("root", server::Method::GET, key).body; };
    EXPECT_EQ(describe().find("last_used_at"), std::string::npos);
    ASSERT_EQ(post("root", "/v1/keys/alias/signing/mac", message_body("a")).status, 200U);
    EXPECT_NE(describe().find("last_used_at"), std::string::npos);
}

TEST_F(SigningTest, ASignatureThatDoesNotVerifyIsAnAnswerAndNoError) {
    make_key(KeyKind::ecdsa_p256);
    const auto made = post("root", "/v1/keys/alias/signing/sign", message_body("a message"));
    const std::string signature = member(made, "signature");
    const std::string path = "/v1/keys/alias/signing/verify";
    EXPECT_EQ(post("root", path, proof_body("a message", "signature", signature)).body,
              R"({"valid":true,"key_version":1})");
    EXPECT_EQ(operation_->facts().at("valid"), "true");
    EXPECT_EQ(post("root", path, proof_body("another", "signature", signature)).body,
              R"({"valid":false})");
    EXPECT_EQ(operation_->facts().at("valid"), "false");
    EXPECT_EQ(post("root", path, proof_body("a message", "signature", "")).body,
              R"({"valid":false})");
    EXPECT_EQ(post("root", path, proof_body("a message", "signature", "AAAA")).body,
              R"({"valid":false})");
}

TEST_F(SigningTest, AMessageMayBeEmptyAndHas64KiBAtMost) {
    make_key(KeyKind::ecdsa_p256);
    const std::string path = "/v1/keys/alias/signing/sign";
    EXPECT_EQ(post("root", path, message_body("")).status, 200U);
    EXPECT_EQ(post("root", path, message_body(std::string(65536, 'x'))).status, 200U);
    const auto refused = post("root", path, message_body(std::string(65537, 'x')));
    EXPECT_EQ(refused.status, 400U);
    EXPECT_NE(refused.body.find("message"), std::string::npos);
}

TEST_F(SigningTest, BadBodiesAreRefusedByTheNameOfTheField) {
    make_key(KeyKind::ecdsa_p256);
    const auto expect_refused = [&](const std::string& path, const std::string& body,
                                    const std::string& naming) {
        const auto response = post("root", "/v1/keys/alias/signing/" + path, body);
        EXPECT_EQ(response.status, 400U) << body;
        EXPECT_NE(response.body.find(naming), std::string::npos) << response.body;
    };
    expect_refused("sign", "{}", "message");
    expect_refused("sign", R"({"message":"no base64!"})", "message");
    expect_refused("sign", R"({"message":"","digest":"SHA-1"})", "digest");
    expect_refused("verify", R"({"message":""})", "signature");
    expect_refused("verify", R"({"message":"","signature":"","key_version":0})", "key_version");
    expect_refused("verify-mac", R"({"message":"","signature":""})", "mac");
    for (const std::string query : {"version=0", "version=x", "version=", "version=99999999999",
                                    "colour=red", "version=1&colour=red"}) {
        EXPECT_EQ(call("root", server::Method::GET, "/v1/keys/alias/signing/public-key", {}, query)
                      .status,
                  400U)
            << query;
    }
}

TEST_F(SigningTest, EachUseIsForItsOwnKinds) {
    const auto refused_of = [&](const std::string& path, const std::string& body) {
        const auto response = post("root", "/v1/keys/alias/signing/" + path, body);
        EXPECT_EQ(response.status, 409U) << path << response.body;
        return response.body;
    };
    const base::Uuid pair = make_key(KeyKind::ecdsa_p256);
    EXPECT_NE(refused_of("mac", message_body("")).find("ecdsa_p256"), std::string::npos);
    refused_of("verify-mac", proof_body("", "mac", ""));
    refused_of("data-keys", "{}");
    EXPECT_EQ(
        post("root", "/v1/keys/" + pair.to_string() + "/encrypt", R"({"plaintext":"AA=="})").status,
        409U);
}

TEST_F(SigningTest, AKeyThatEncryptsSignsNothing) {
    make_key(KeyKind::aes_256);
    const std::string path = "/v1/keys/alias/signing/";
    for (const std::string act : {"sign", "mac"})
        EXPECT_EQ(post("root", path + act, message_body("")).status, 409U);
    EXPECT_EQ(call("root", server::Method::GET, path + "public-key").status, 409U);
}

TEST_F(SigningTest, AVersionIsVerifiedUnderTheOneThatIsNamedOrUnderAny) {
    const base::Uuid id = make_key(KeyKind::ecdsa_p256);
    const std::string path = "/v1/keys/alias/signing/";
    const std::string first = member(post("root", path + "sign", message_body("m")), "signature");
    const auto rotated = post("root", path + "rotate", "{}");
    ASSERT_EQ(rotated.status, 200U) << rotated.body;
    const auto second = post("root", path + "sign", message_body("m"));
    EXPECT_EQ(member(second, "key_version"), "2");
    EXPECT_EQ(post("root", path + "verify", proof_body("m", "signature", first)).body,
              R"({"valid":true,"key_version":1})");
    EXPECT_EQ(
        post("root", path + "verify", proof_body("m", "signature", first, R"(,"key_version":1)"))
            .body,
        R"({"valid":true,"key_version":1})");
    EXPECT_EQ(
        post("root", path + "verify", proof_body("m", "signature", first, R"(,"key_version":2)"))
            .body,
        R"({"valid":false})");
    EXPECT_EQ(
        post("root", path + "verify", proof_body("m", "signature", first, R"(,"key_version":3)"))
            .status,
        404U);
    const auto of_first = call("root", server::Method::GET, path + "public-key", {}, "version=1");
    const auto of_primary = call("root", server::Method::GET, path + "public-key");
    EXPECT_EQ(member(of_primary, "key_version"), "2");
    EXPECT_NE(member(of_first, "public_key"), member(of_primary, "public_key"));
    EXPECT_EQ(call("root", server::Method::GET, path + "public-key", {}, "version=3").status, 404U);
    EXPECT_EQ(rig().catalogue.snapshot()->find(id)->versions.size(), 2U);
    kms::Key record = *rig().catalogue.snapshot()->find(id);
    record.versions.at(0).state = kms::KeyState::destroyed;
    rig().catalogue.put(record);
    const auto gone = call("root", server::Method::GET, path + "public-key", {}, "version=1");
    EXPECT_EQ(gone.status, 409U);
    EXPECT_NE(gone.body.find("version 1 of the key is in state destroyed"), std::string::npos);
    EXPECT_NE(gone.body.find("permitted for a version in state enabled"), std::string::npos);
}

TEST_F(SigningTest, AnotherKeyUnderTheSameIdIsNotUsed) {
    for (const auto& [kind, act] :
         {std::pair(KeyKind::ecdsa_p256, "sign"), std::pair(KeyKind::hmac_sha_256, "mac")}) {
        const auto created =
            post("root", "/v1/keys", R"({"kind":")" + std::string(to_string(kind)) + "\"}");
        const auto id = *base::Uuid::parse(member(created, "id"));
        const std::string path = "/v1/keys/" + id.to_string() + "/";
        token_.replace_key(rig().catalogue.snapshot()->find(id)->primary().token_key_id);
        EXPECT_EQ(post("root", path + act, message_body("m")).status, 503U);
        token_.destroy_key(rig().catalogue.snapshot()->find(id)->primary().token_key_id);
        EXPECT_EQ(post("root", path + act, message_body("m")).status, 503U);
    }
}

TEST_F(SigningTest, StatesForbidAndTheRightToCompromisedKeysLetsOldSignaturesBeVerified) {
    make_key(KeyKind::ecdsa_p256);
    const std::string path = "/v1/keys/alias/signing/";
    const std::string signature =
        member(post("signer", path + "sign", message_body("m")), "signature");
    const std::string verify = proof_body("m", "signature", signature);
    ASSERT_EQ(post("root", path + "disable", {}).status, 200U);
    const auto refused = post("signer", path + "sign", message_body("m"));
    EXPECT_EQ(refused.status, 409U);
    EXPECT_NE(refused.body.find("disabled"), std::string::npos);
    EXPECT_EQ(post("signer", path + "verify", verify).status, 409U);
    EXPECT_EQ(call("signer", server::Method::GET, path + "public-key").status, 409U);
    ASSERT_EQ(post("root", path + "mark-compromised", {}).status, 200U);
    EXPECT_EQ(post("root", path + "sign", message_body("m")).status, 409U);
    EXPECT_EQ(post("signer", path + "verify", verify).status, 409U);
    EXPECT_EQ(post("root", path + "verify", verify).status, 200U);
    ASSERT_EQ(operation_->decided().size(), 2U) << "the record says by which right";
    EXPECT_EQ(operation_->decided()[1].action, "use_compromised_key");
    EXPECT_EQ(call("root", server::Method::GET, path + "public-key").status, 200U);
    EXPECT_EQ(operation_->decided().size(), 2U);
}

TEST_F(SigningTest, EachActNeedsItsOwnRight) {
    make_key(KeyKind::ecdsa_p256);
    const std::string path = "/v1/keys/alias/signing/";
    EXPECT_EQ(post("signer", path + "sign", message_body("m")).status, 200U);
    EXPECT_EQ(operation_->decided().at(0).action, "sign");
    EXPECT_EQ(operation_->facts().at("algorithm"), "ECDSA_SHA_256");
    for (const std::string caller : {"app", "operator"}) {
        EXPECT_EQ(post(caller, path + "sign", message_body("m")).status, 403U);
        EXPECT_EQ(post(caller, path + "verify", proof_body("m", "signature", "")).status, 403U);
        EXPECT_EQ(post(caller, path + "mac", message_body("m")).status, 403U);
        EXPECT_EQ(post(caller, path + "verify-mac", proof_body("m", "mac", "")).status, 403U);
        EXPECT_EQ(call(caller, server::Method::GET, path + "public-key").status, 403U);
    }
}

TEST_F(SigningTest, AnUnknownKeyLooksLikeAForbiddenOne) {
    make_key(KeyKind::ecdsa_p256);
    const std::string unknown = "/v1/keys/" + base::Uuid::random().to_string() + "/sign";
    const auto nobody = post("app", unknown, message_body("m"));
    const auto forbidden = post("app", "/v1/keys/alias/signing/sign", message_body("m"));
    EXPECT_EQ(nobody.body, forbidden.body);
    EXPECT_EQ(post("root", unknown, message_body("m")).status, 404U);
}

TEST_F(SigningTest, AGrantForAnotherActOrKeyIsInternal) {
    const base::Uuid id = make_key(KeyKind::ecdsa_p256);
    auto operation = operation_of("root");
    const auto verify = rig().grant(operation, kms::verify_action, id.to_string());
    EXPECT_ERROR(internal, rig().signing.sign({&verify, id}, as_bytes("m")));
    const auto other = rig().grant(operation, kms::sign_action, base::Uuid::random().to_string());
    EXPECT_ERROR(internal, rig().signing.sign({&other, id}, as_bytes("m")));
}

TEST_F(SigningTest, ATokenThatIsAwayIsUnavailable) {
    make_key(KeyKind::ecdsa_p256);
    token_.is_away = true;
    EXPECT_EQ(post("root", "/v1/keys/alias/signing/sign", message_body("m")).status, 503U);
}

TEST_F(SigningTest, ARestartProvesKeysOfEveryKind) {
    for (const KeyKind kind : {KeyKind::ecdsa_p256, KeyKind::hmac_sha_256, KeyKind::ed25519}) {
        const auto created =
            post("root", "/v1/keys", R"({"kind":")" + std::string(to_string(kind)) + "\"}");
        ASSERT_EQ(created.status, 201U) << created.body;
    }
    const auto keys = rig().catalogue.snapshot()->keys();
    rig_.reset();
    EXPECT_TRUE(rig().reconciled.unproven.empty());
    EXPECT_EQ(rig().reconciled.unknown_objects, 0U);
    for (const auto& key : keys) token_.replace_key(key->primary().token_key_id);
    rig_.reset();
    EXPECT_EQ(rig().reconciled.unproven.size(), keys.size());
}

}  // namespace
}  // namespace tests
