// A new key counts only when a second process has used it.
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <set>

#include "hsm/readback_client.h"
#include "tests/support/expect_error.h"
#include "tests/support/token_fixture.h"

namespace tests {
namespace {

using hsm::KeyId;
using hsm::KeyKind;
using hsm::KeyProfile;

class Readback : public testing::Test {
protected:
    Readback() { config_.readback_program = STRONGROOM_READBACK; }
    // A program that stands in for the real one.
    void use_script(std::string_view text) {
        script_.write("script", text, 0700);
        config_.readback_program = script_ / "script";
    }
    std::unique_ptr<hsm::Token> open() { return hsm::open_token(config_, token_.pin(), log_); }

    base::Log log_{"hsm_tests", base::LogLevel::error};
    SoftHsmToken token_;
    TemporaryDirectory script_;
    hsm::TokenConfig config_ = token_.config();
};

TEST_F(Readback, ANewKeyIsReadBackByASecondProcess) {
    auto token = open();
    for (int i = 0; i < 3; ++i) token->generate_aes_key(KeyId::random(), "", KeyProfile::sealed);
    EXPECT_EQ(token->list_keys().size(), 3U);
}

TEST_F(Readback, EveryKindOfKeyIsReadBackByASecondProcess) {
    auto token = open();
    for (const KeyKind kind : token->supported_kinds()) {
        const KeyId id = KeyId::random();
        EXPECT_NO_THROW(token->generate_key(id, "", kind, KeyProfile::sealed)) << to_string(kind);
        EXPECT_NO_THROW(token->make_durable(id)) << to_string(kind);
    }
}

TEST_F(Readback, ASecondProcessMustSeeTheSameKeyOfThePairOrTheMacKey) {
    auto token = open();
    const KeyId pair = KeyId::random();
    const KeyId mac = KeyId::random();
    token->generate_key(pair, "", KeyKind::ecdsa_p256, KeyProfile::sealed);
    token->generate_key(mac, "", KeyKind::hmac_sha_256, KeyProfile::sealed);
    hsm::ReadbackQuestion of_pair{
        pair, KeyKind::ecdsa_p256, {}, base::Bytes(32), token->public_key(pair)};
    hsm::ReadbackQuestion of_mac{
        mac, KeyKind::hmac_sha_256, {}, base::Bytes(32), token->mac(mac, base::Bytes(32))};
    EXPECT_NO_THROW(hsm::read_back(config_, token_.pin(), of_pair));
    EXPECT_NO_THROW(hsm::read_back(config_, token_.pin(), of_mac));
    of_pair.expected.back() ^= 1U;
    of_mac.expected.back() ^= 1U;
    EXPECT_ERROR(integrity_failure, hsm::read_back(config_, token_.pin(), of_pair));
    EXPECT_ERROR(integrity_failure, hsm::read_back(config_, token_.pin(), of_mac));
}

TEST_F(Readback, AMissingProgramMakesTheKeyUnavailable) {
    config_.readback_program = "/nowhere/strongroom-key-readback";
    EXPECT_ERROR(unavailable, open()->generate_aes_key(KeyId::random(), "", KeyProfile::sealed));
}

TEST_F(Readback, AKeyWhoseProofFailedCanBeProvenLater) {
    const KeyId id = KeyId::random();
    use_script("#!/bin/sh\nexit 1\n");
    {
        auto token = open();
        EXPECT_ERROR(unavailable, token->generate_aes_key(id, "", KeyProfile::sealed));
        EXPECT_ERROR(unavailable, token->make_durable(id));
    }
    config_.readback_program = STRONGROOM_READBACK;
    auto token = open();
    EXPECT_NO_THROW(token->make_durable(id));
    EXPECT_ERROR(not_found, token->make_durable(KeyId::random()));
}

TEST_F(Readback, AnyOtherAnswerThanTheKeysOwnIsARefusal) {
    for (const std::string_view answer : {"", "not json", R"({"output":"AAAA"})",
                                          R"({"error":"no"})", R"({"output":1})", R"({})"}) {
        use_script("#!/bin/sh\n/bin/cat >/dev/null\nprintf '%s' '" + std::string(answer) + "'\n");
        auto token = open();
        EXPECT_ERROR(unavailable, token->generate_aes_key(KeyId::random(), "", KeyProfile::sealed));
    }
}

// "not there" and "another key" are said by the program that looked; everything else is trouble.
TEST_F(Readback, OnlyWhatTheProgramSaysOfTheKeyIsAProofAgainstIt) {
    const KeyId id = KeyId::random();
    open()->generate_aes_key(id, "", KeyProfile::sealed);
    const auto refuses_with = [&](const std::string& code) {
        use_script("#!/bin/sh\n/bin/cat >/dev/null\nprintf '%s' '{\"error\":\"no\",\"code\":\"" +
                   code + "\"}'\n");
        return open();
    };
    EXPECT_ERROR(not_found, refuses_with("not_found")->make_durable(id));
    EXPECT_ERROR(integrity_failure, refuses_with("integrity_failure")->make_durable(id));
    for (const char* other : {"unavailable", "failed_precondition", "internal", "nonsense", ""})
        EXPECT_ERROR(unavailable, refuses_with(other)->make_durable(id));
    // Whoever orders a key is not told that there is none.
    EXPECT_ERROR(
        unavailable,
        refuses_with("not_found")->generate_aes_key(KeyId::random(), "", KeyProfile::sealed));
}

TEST_F(Readback, AProgramThatCantOpenTheTokenSaysNothingOfTheKey) {
    const hsm::ReadbackQuestion question{
        KeyId::random(), KeyKind::aes_256, {}, base::Bytes(17), base::Bytes(1)};
    const std::string_view wrong = "not the PIN";
    EXPECT_ERROR(unavailable,
                 hsm::read_back(config_, base::SecretBytes(base::as_bytes(wrong)), question));
}

TEST_F(Readback, AProgramThatHangsIsKilledAfterItsTime) {
    use_script("#!/bin/sh\nexec /bin/sleep 600\n");
    const hsm::ReadbackQuestion question{KeyId::random(), {}, {}, {}, {}};
    const auto start = std::chrono::steady_clock::now();
    EXPECT_ERROR(unavailable,
                 hsm::read_back(config_, token_.pin(), question, std::chrono::milliseconds(200)));
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
}

TEST_F(Readback, TheProgramGetsNoArgumentAndNoEnvironment) {
    use_script("#!/bin/sh\n/bin/cat >/dev/null\n{ echo \"$#\"; /usr/bin/env; } > '" +
               (script_ / "seen").string() + "'\n");
    const hsm::ReadbackQuestion question{KeyId::random(), {}, {}, {}, {}};
    EXPECT_ERROR(unavailable, hsm::read_back(config_, token_.pin(), question));
    std::set<std::string> names;
    std::ifstream seen(script_ / "seen");
    std::string line;
    ASSERT_TRUE(std::getline(seen, line));
    EXPECT_EQ(line, "0");
    while (std::getline(seen, line)) names.insert(line.substr(0, line.find('=')));
    for (const auto& name : names)
        EXPECT_TRUE(name == "PWD" || name == "_" || name == "SHLVL" || name == "OLDPWD") << name;
}

// Its own parent may have ended before it could ask to end with it.
TEST_F(Readback, TheProgramAnswersNobodyButItsParent) {
    auto token = open();
    const KeyId key = KeyId::random();
    token->generate_key(key, "", KeyKind::hmac_sha_256, KeyProfile::sealed);
    const hsm::ReadbackQuestion question{
        key, KeyKind::hmac_sha_256, {}, base::Bytes(32), token->mac(key, base::Bytes(32))};
    EXPECT_NO_THROW(hsm::read_back(config_, token_.pin(), question));
    use_script("#!/bin/sh\n'" STRONGROOM_READBACK "'\nexit 0\n");
    EXPECT_ERROR(unavailable, hsm::read_back(config_, token_.pin(), question));
}

TEST_F(Readback, ASecondProcessDoesNotFindAKeyThatIsNotThere) {
    const hsm::ReadbackQuestion question{
        KeyId::random(), KeyKind::aes_256, {}, base::Bytes(17), base::Bytes(1)};
    try {
        hsm::read_back(config_, token_.pin(), question);
        ADD_FAILURE();
    } catch (const base::Error& error) {
        EXPECT_EQ(error.code(), base::ErrorCode::not_found);
        EXPECT_NE(error.detail().find("does not find the key"), std::string::npos) << error.what();
    }
}

}  // namespace
}  // namespace tests
