// The commands of kmsctl that govern keys, sign and take stock. What it signs is judged by the
// openssl command.
#include <set>

#include "base/clock.h"
#include "base/encoding.h"
#include "base/file.h"
#include "base/json.h"
#include "tests/kms/kmsctl_runner.h"

namespace tests {
namespace {

class KmsctlCommands : public KmsctlRunner {
protected:
    // The operator may do everything, the others nothing.
    std::string policy() const override {
        return R"({"version":1,"roles":{"all":[{"id":"all","effect":"allow","actions":["*"],
            "resources":["*"]}]},
            "bindings":[{"caller":"spiffe://strongroom/operator","roles":["all"]}]})";
    }
    Outcome ctl(const Arguments& command) { return as(operator_, command); }
    Outcome must(const Arguments& command) {
        Outcome outcome = ctl(command);
        EXPECT_EQ(outcome.exit_code, 0) << command.front() << ": " << outcome.output;
        return outcome;
    }
    // A JSON answer.
    base::JsonValue ask(Arguments command) {
        command.emplace_back("--json");
        return base::parse_json(must(command).output, {8UL * 1024 * 1024, 64});
    }
    std::string make_key(const std::string& alias, const std::string& kind) {
        const auto key = ask({"key", "create", "--alias", alias, "--kind", kind});
        return text(key, "id");
    }
    static std::string text(const base::JsonValue& object, std::string_view name) {
        const auto* member = object.find(name);
        if (member == nullptr) return {};
        return member->string() != nullptr ? std::string(*member->string())
                                           : std::string(base::to_json(*member));
    }
    std::string state_of(const std::string& key) {
        return text(ask({"key", "show", key}), "state");
    }
    static Outcome openssl(const Arguments& arguments) {
        return run_program("/usr/bin/openssl", arguments);
    }
};

TEST_F(KmsctlCommands, OpensslVerifiesWhatKeysOfTheTokenSign) {
    const auto message = files_.write("message", "what is signed\n").string();
    const std::vector<std::pair<std::string, Arguments>> kinds{
        {"ecdsa_p256", {"dgst", "-sha256"}},
        {"ecdsa_p384", {"dgst", "-sha384"}},
        {"rsa_pss_3072",
         {"dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"}},
        {"ed25519", {"pkeyutl", "-verify", "-rawin"}}};
    for (const auto& [kind, judge] : kinds) {
        SCOPED_TRACE(kind);
        const std::string alias = "alias/" + kind;
        make_key(kind, kind);
        must({"sign", alias, "--in", message, "--out", file(kind + ".sig")});
        must({"public-key", alias, "--out", file(kind + ".pem")});
        Arguments verify = judge;
        const bool is_pkeyutl = judge.front() == "pkeyutl";
        const Arguments rest = is_pkeyutl ? Arguments{"-pubin",
                                                      "-inkey",
                                                      file(kind + ".pem"),
                                                      "-sigfile",
                                                      file(kind + ".sig"),
                                                      "-in",
                                                      message}
                                          : Arguments{"-verify", file(kind + ".pem"), "-signature",
                                                      file(kind + ".sig"), message};
        verify.insert(verify.end(), rest.begin(), rest.end());
        const auto judged = openssl(verify);
        EXPECT_EQ(judged.exit_code, 0) << judged.output;
        EXPECT_TRUE(contains(judged.output, "Verified")) << judged.output;
        const auto valid =
            must({"verify", alias, "--in", message, "--signature", file(kind + ".sig")});
        EXPECT_TRUE(contains(valid.output, "is valid")) << valid.output;
        const auto other =
            ctl({"verify", alias, "--in", file(kind + ".pem"), "--signature", file(kind + ".sig")});
        EXPECT_EQ(other.exit_code, 1) << other.output;
        EXPECT_TRUE(contains(other.output, "NOT valid")) << other.output;
    }
}

TEST_F(KmsctlCommands, MacsAreMadeAndVerifiedInBase64Too) {
    make_key("m", "hmac_sha_256");
    const auto message = files_.write("message", "text").string();
    must({"mac", "alias/m", "--in", message, "--out", file("mac")});
    EXPECT_EQ(base::read_file(file("mac"), 100).size(), 32U);
    must({"verify-mac", "alias/m", "--in", message, "--mac", file("mac")});
    const auto line = must({"mac", "alias/m", "--in", message, "--base64"}).output;
    EXPECT_EQ(line.size(), 45U) << line;
    const auto in_base64 = files_.write("mac.b64", line).string();
    must({"verify-mac", "alias/m", "--in", message, "--mac", in_base64, "--base64"});
    const auto as_json = ask({"mac", "alias/m", "--in", message});
    EXPECT_EQ(text(as_json, "algorithm"), "HMAC_SHA_256");
    EXPECT_EQ(ctl({"verify-mac", "alias/m", "--in", file("mac"), "--mac", file("mac")}).exit_code,
              1);
}

TEST_F(KmsctlCommands, DataKeysOfSeveralContextsAreOpenedAndRewrappedInOneCall) {
    make_key("a", "aes_256");
    std::string lines;
    for (const std::string owner : {"1", "2", "3"}) {
        must({"data-key", "create", "alias/a", "--context", "o=" + owner, "--out",
              file("w" + owner), "--plaintext-out", file("p" + owner)});
        std::string line(base::read_file(file("w" + owner), 1000));
        line.pop_back();
        lines += line + (owner == "3" ? "\n" : R"( {"o":")" + owner + "\"}\n");
    }
    const auto all = files_.write("all", lines).string();
    const auto plain = [&](const std::string& name) { return base::read_file(file(name), 1000); };
    must({"data-key", "unwrap", "--context", "o=3", "--in", all, "--plaintext-out", file("p")});
    EXPECT_EQ(plain("p"), plain("p1") + plain("p2") + plain("p3"));
    must({"data-key", "rewrap", "--context", "o=3", "--in", all, "--out", file("n"), "--to-context",
          "o=4"});
    must({"data-key", "unwrap", "--context", "o=4", "--in", file("n"), "--plaintext-out",
          file("q")});
    EXPECT_EQ(plain("q"), plain("p"));
    for (const std::string bad : {"[1]", R"({"o":1})", "{"}) {
        const auto spoilt = files_.write("bad", "QUFB " + bad + "\n").string();
        const auto refused =
            ctl({"data-key", "unwrap", "--in", spoilt, "--plaintext-out", file("r")});
        EXPECT_EQ(refused.exit_code, 2) << bad;
        EXPECT_TRUE(contains(refused.output, "line 1")) << refused.output;
    }
}

TEST_F(KmsctlCommands, TextsAndDataKeysGoRound) {
    make_key("a", "aes_256");
    make_key("b", "aes_256");
    const auto plain = files_.write("plain", "a small secret").string();
    must({"encrypt", "alias/a", "--context", "app=shop", "--in", plain, "--out", file("c")});
    must({"decrypt", "--context", "app=shop", "--in", file("c"), "--plaintext-out", file("d")});
    EXPECT_EQ(base::read_file(file("d"), 100), "a small secret");
    EXPECT_EQ(ctl({"decrypt", "--in", file("c"), "--plaintext-out", file("e")}).exit_code, 1);

    must({"data-key", "create", "alias/a", "--context", "o=1", "--count", "3", "--out", file("w"),
          "--plaintext-out", file("p")});
    must({"data-key", "rewrap", "--context", "o=1", "--in", file("w"), "--out", file("v"), "--to",
          "alias/b", "--to-context", "o=2"});
    EXPECT_NE(base::read_file(file("w"), 10'000), base::read_file(file("v"), 10'000));
    const auto as_json = ask({"data-key", "rewrap", "--context", "o=1", "--in", file("w"), "--to",
                              "alias/b", "--to-context", "o=2"});
    ASSERT_EQ(as_json.find("results")->array()->size(), 3U);
    EXPECT_EQ(text(as_json.find("results")->array()->front(), "key_version"), "1");
    EXPECT_FALSE(text(as_json.find("results")->array()->front(), "wrapped").empty());
    must({"data-key", "unwrap", "--context", "o=2", "--in", file("v"), "--plaintext-out",
          file("q")});
    EXPECT_EQ(base::read_file(file("p"), 10'000), base::read_file(file("q"), 10'000));
    EXPECT_EQ(ctl({"data-key", "unwrap", "--context", "o=1", "--in", file("v"), "--plaintext-out",
                   file("r")})
                  .exit_code,
              1);
}

TEST_F(KmsctlCommands, ADestroyedKeyIsShownWithItsTombstone) {
    const std::string id = make_key("end", "aes_256");
    must({"key", "schedule-deletion", id, "--days", "7", "--yes"});
    EXPECT_EQ(daemon_->stop(), 0) << daemon_->output();
    // The days pass.
    const auto database = (house_.folder() / "kms.db").string();
    const auto passed = run_program(
        "/usr/bin/python3",
        {"-c",
         "import sqlite3,sys; d = sqlite3.connect(sys.argv[1]); "
         "d.execute('UPDATE keys SET deletion_at = 1 WHERE id = ?', (sys.argv[2],)); d.commit()",
         database, id});
    ASSERT_EQ(passed.exit_code, 0) << passed.output;
    daemon_ = house_.start();
    port_ = daemon_->wait_ready();
    // The start gave the other one to the daemon's user.
    operator_ = house_.pki().client("tool-operator-again", "spiffe://strongroom/operator");
    constexpr int most_looks = 200;
    for (int i = 0; i < most_looks && state_of(id) != "destroyed"; ++i) {
    }
    const auto shown = must({"key", "show", id}).output;
    EXPECT_TRUE(contains(shown, "Tombstone")) << shown;
    EXPECT_TRUE(contains(shown, "deletion_ordered_by")) << shown;
    EXPECT_TRUE(contains(shown, "PROVEN ABSENT")) << shown;
    const auto key = ask({"key", "show", id});
    const auto& version = key.find("tombstone")->find("versions")->array()->front();
    EXPECT_TRUE(contains(shown, text(version, "token_key_id"))) << shown;
}

TEST_F(KmsctlCommands, AKeyGoesThroughItsLife) {
    const std::string id = make_key("life", "aes_256");
    const auto rotated = ask({"key", "rotate", "alias/life", "--if-primary-version", "1"});
    EXPECT_EQ(text(rotated, "primary_version"), "2");
    EXPECT_EQ(ctl({"key", "rotate", "alias/life", "--if-primary-version", "1"}).exit_code, 1);
    const auto rule =
        files_.write("rule.json", R"({"required":["owner"],"allow_others":true})").string();
    const auto changed = ask({"key", "change", id, "--description", "changed", "--tag", "team=x",
                              "--rotation-days", "90", "--context-rule", rule});
    EXPECT_EQ(text(changed, "description"), "changed");
    EXPECT_EQ(text(changed, "rotation_period_days"), "90");
    EXPECT_FALSE(text(changed, "next_rotation_at").empty());
    EXPECT_TRUE(contains(text(changed, "context_rule"), "owner"));
    const auto again = ask({"key", "change", id, "--rotation-days", "none", "--context-rule",
                            "none", "--without-tags"});
    EXPECT_EQ(text(again, "rotation_period_days"), "");
    EXPECT_EQ(text(again, "tags"), "{}");
    EXPECT_EQ(ctl({"key", "change", id, "--description", "x", "--if-revision", "1"}).exit_code, 1);
    must({"key", "disable", id});
    EXPECT_EQ(state_of(id), "disabled");
    must({"key", "enable", id});
    must({"alias", "set", "other", "alias/life"});
    EXPECT_TRUE(contains(must({"alias", "list"}).output, "alias/other"));
    must({"alias", "remove", "life"});
    EXPECT_FALSE(contains(must({"alias", "list"}).output, "alias/life"));
    must({"key", "schedule-deletion", "alias/other", "--days", "7", "--yes"});
    EXPECT_EQ(state_of(id), "pending_deletion");
    must({"key", "cancel-deletion", "alias/other"});
    EXPECT_EQ(state_of(id), "disabled");
    must({"key", "mark-compromised", id, "--yes"});
    const auto listed = must({"key", "list"});
    EXPECT_TRUE(contains(listed.output, "compromised")) << listed.output;
}

TEST_F(KmsctlCommands, WhatCanNotBeTakenBackIsTypedOrSaidWithYes) {
    const std::string id = make_key("precious", "aes_256");
    for (const char* order : {"schedule-deletion", "mark-compromised"}) {
        const auto silent = ctl({"key", order, id});
        EXPECT_EQ(silent.exit_code, 2) << silent.output;
        EXPECT_TRUE(contains(silent.output, "--yes")) << silent.output;
        const auto wrong = run_on_terminal(command_as(operator_, {"key", order, id}), "yes\n");
        EXPECT_EQ(wrong.exit_code, 2) << wrong.output;
        EXPECT_TRUE(contains(wrong.output, "nothing was done")) << wrong.output;
    }
    EXPECT_EQ(state_of(id), "enabled");
    const auto typed = run_on_terminal(
        command_as(operator_, {"key", "schedule-deletion", "alias/precious"}), "alias/precious\n");
    EXPECT_EQ(typed.exit_code, 0) << typed.output;
    EXPECT_EQ(state_of(id), "pending_deletion");
    const auto by_id =
        run_on_terminal(command_as(operator_, {"key", "mark-compromised", id}), id + "\n");
    EXPECT_EQ(by_id.exit_code, 0) << by_id.output;
    EXPECT_FALSE(text(ask({"key", "show", id}), "compromised_at").empty());
}

TEST_F(KmsctlCommands, TheInventoryHasEveryVersionWithWhatTheTokenSays) {
    make_key("a", "aes_256");
    make_key("s", "ecdsa_p256");
    must({"key", "rotate", "alias/a"});
    const auto table = must({"inventory"});
    for (const char* part : {"aes_256", "ecdsa_p256", "never_extractable", "CKM_AES_KEY_GEN",
                             "CKM_EC_KEY_PAIR_GEN", "CKA_CHECK_VALUE"})
        EXPECT_TRUE(contains(table.output, part)) << part << " in:\n" << table.output;
    EXPECT_EQ(std::count(table.output.begin(), table.output.end(), '\n'), 4) << table.output;
    const auto as_json = ask({"inventory"});
    ASSERT_EQ(as_json.find("keys")->array()->size(), 2U);
    EXPECT_NE(as_json.find("keys")
                  ->array()
                  ->front()
                  .find("versions")
                  ->array()
                  ->front()
                  .find("attributes"),
              nullptr);
}

// By the published schema of CycloneDX 1.6: the words and members of its cryptoProperties.
class CbomChecker {
public:
    explicit CbomChecker(const base::JsonValue& bom) : bom_(bom) {}

    void check() {
        members(bom_, {"$schema", "bomFormat", "specVersion", "serialNumber", "version", "metadata",
                       "components", "dependencies"});
        EXPECT_EQ(text(bom_, "bomFormat"), "CycloneDX");
        EXPECT_EQ(text(bom_, "specVersion"), "1.6");
        EXPECT_EQ(text(bom_, "version"), "1");
        const std::string serial = text(bom_, "serialNumber");
        EXPECT_EQ(serial.size(), 45U) << serial;
        EXPECT_TRUE(serial.starts_with("urn:uuid:")) << serial;
        check_metadata();
        for (const auto& component : *bom_.find("components")->array()) check_component(component);
        for (const auto& dependency : *bom_.find("dependencies")->array()) {
            members(dependency, {"ref", "dependsOn"});
            EXPECT_EQ(refs_.count(text(dependency, "ref")), 1U);
            if (dependency.find("dependsOn") == nullptr) continue;
            for (const auto& on : *dependency.find("dependsOn")->array())
                EXPECT_EQ(refs_.count(std::string(*on.string())), 1U);
        }
        for (const auto& ref : algorithm_refs_) EXPECT_EQ(refs_.count(ref), 1U) << ref;
    }
    std::size_t count(const std::string& type) const { return types_.count(type); }
    std::size_t states(const std::string& state) const { return states_.count(state); }

private:
    static std::string text(const base::JsonValue& object, std::string_view name) {
        const auto* member = object.find(name);
        if (member == nullptr) return {};
        return member->string() != nullptr ? std::string(*member->string())
                                           : std::string(base::to_json(*member));
    }
    static void members(const base::JsonValue& object, const std::set<std::string>& known) {
        ASSERT_NE(object.object(), nullptr);
        for (const auto& [name, value] : *object.object())
            EXPECT_EQ(known.count(std::string(name)), 1U) << name;
    }
    static void one_of(const base::JsonValue& object, std::string_view name,
                       const std::set<std::string>& words) {
        EXPECT_EQ(words.count(text(object, name)), 1U) << name << " is " << text(object, name);
    }
    // RFC 3339, as JSON schema's date-time.
    static void date_time(const base::JsonValue& object, std::string_view name) {
        EXPECT_TRUE(base::parse_rfc3339(text(object, name)).has_value()) << text(object, name);
    }
    void reference(const base::JsonValue& object) {
        EXPECT_TRUE(refs_.insert(text(object, "bom-ref")).second) << text(object, "bom-ref");
    }

    void check_metadata() {
        const auto& metadata = *bom_.find("metadata");
        members(metadata, {"timestamp", "tools", "component"});
        date_time(metadata, "timestamp");
        const auto& tool = metadata.find("tools")->find("components")->array()->front();
        members(tool, {"type", "name", "version"});
        EXPECT_EQ(text(tool, "type"), "application");
        const auto& subject = *metadata.find("component");
        members(subject, {"type", "bom-ref", "name", "description"});
        EXPECT_EQ(text(subject, "type"), "application");
        EXPECT_FALSE(text(subject, "name").empty());
        reference(subject);
    }
    void check_component(const base::JsonValue& component) {
        members(component, {"type", "bom-ref", "name", "cryptoProperties", "properties"});
        EXPECT_EQ(text(component, "type"), "cryptographic-asset");
        EXPECT_FALSE(text(component, "name").empty());
        reference(component);
        if (component.find("properties") != nullptr) {
            for (const auto& property : *component.find("properties")->array()) {
                members(property, {"name", "value"});
                EXPECT_NE(property.find("value")->string(), nullptr);
            }
        }
        const auto& crypto = *component.find("cryptoProperties");
        if (text(crypto, "assetType") == "algorithm") return check_algorithm(crypto);
        EXPECT_EQ(text(crypto, "assetType"), "related-crypto-material");
        check_material(crypto);
    }
    void check_algorithm(const base::JsonValue& crypto) {
        members(crypto, {"assetType", "algorithmProperties", "oid"});
        const auto& algorithm = *crypto.find("algorithmProperties");
        members(algorithm,
                {"primitive", "parameterSetIdentifier", "curve", "mode", "cryptoFunctions",
                 "classicalSecurityLevel", "nistQuantumSecurityLevel"});
        one_of(algorithm, "primitive", {"ae", "mac", "signature"});
        if (algorithm.find("mode") != nullptr) one_of(algorithm, "mode", {"gcm"});
        const std::set<std::string> functions{"keygen", "encrypt", "decrypt",
                                              "tag",    "sign",    "verify"};
        for (const auto& function : *algorithm.find("cryptoFunctions")->array())
            EXPECT_EQ(functions.count(std::string(*function.string())), 1U);
        EXPECT_LE(std::stoi(text(algorithm, "nistQuantumSecurityLevel")), 6);
        EXPECT_NE(text(crypto, "oid").find('.'), std::string::npos);
        types_.insert("algorithm");
    }
    void check_material(const base::JsonValue& crypto) {
        members(crypto, {"assetType", "relatedCryptoMaterialProperties"});
        const auto& material = *crypto.find("relatedCryptoMaterialProperties");
        members(material, {"type", "id", "state", "algorithmRef", "creationDate", "size", "value",
                           "format", "securedBy"});
        one_of(material, "type", {"private-key", "public-key", "secret-key"});
        one_of(
            material, "state",
            {"pre-activation", "active", "suspended", "deactivated", "compromised", "destroyed"});
        date_time(material, "creationDate");
        EXPECT_GE(std::stoi(text(material, "size")), 256);
        algorithm_refs_.insert(text(material, "algorithmRef"));
        types_.insert(text(material, "type"));
        states_.insert(text(material, "state"));
        const bool is_public = text(material, "type") == "public-key";
        EXPECT_EQ(material.find("value") != nullptr, is_public) << "only a public key has a value";
        EXPECT_EQ(material.find("securedBy") != nullptr, !is_public);
    }

    const base::JsonValue& bom_;
    std::set<std::string> refs_, algorithm_refs_;
    std::multiset<std::string> types_, states_;
};

TEST_F(KmsctlCommands, TheCbomIsCycloneDx16) {
    make_key("a", "aes_256");
    must({"key", "rotate", "alias/a"});
    make_key("m", "hmac_sha_256");
    for (const char* kind : {"ecdsa_p256", "ecdsa_p384", "ed25519", "rsa_pss_3072"})
        make_key(kind == std::string("ed25519") ? "e" : std::string(kind), kind);
    must({"key", "disable", "alias/ecdsa_p256"});
    must({"key", "mark-compromised", "alias/ecdsa_p384", "--yes"});
    must({"inventory", "--format", "cyclonedx", "--out", file("cbom.json")});
    const auto bom =
        base::parse_json(base::read_file(file("cbom.json"), 1024UL * 1024), {1024UL * 1024, 32});
    CbomChecker checker(bom);
    checker.check();
    EXPECT_EQ(checker.count("algorithm"), 6U);
    EXPECT_EQ(checker.count("secret-key"), 3U);
    EXPECT_EQ(checker.count("private-key"), 4U);
    EXPECT_EQ(checker.count("public-key"), 4U);
    EXPECT_EQ(checker.states("deactivated"), 1U) << "the older version of the rotated key";
    EXPECT_EQ(checker.states("suspended"), 2U);
    EXPECT_EQ(checker.states("compromised"), 2U);
    EXPECT_EQ(ctl({"inventory", "--out", file("cbom.json")}).exit_code, 2)
        << "an inventory never replaces a file";
}

TEST_F(KmsctlCommands, AStrangerSeesNothing) {
    make_key("a", "ecdsa_p256");
    const auto message = files_.write("message", "x").string();
    const std::vector<Arguments> commands{{"inventory"},
                                          {"alias", "list"},
                                          {"sign", "alias/a", "--in", message},
                                          {"public-key", "alias/a"},
                                          {"key", "rotate", "alias/a"},
                                          {"key", "mark-compromised", "alias/a", "--yes"}};
    for (const auto& command : commands) {
        const auto refused = as(stranger_, command);
        EXPECT_EQ(refused.exit_code, 1) << refused.output;
        EXPECT_TRUE(refused.output.starts_with("kmsctl: ")) << refused.output;
    }
}

TEST(KmsctlCommandsUsage, WrongUsageIsExitCodeTwo) {
    const TemporaryDirectory files;
    const auto there = files.write("there", "x\n").string();
    const auto large = files.write("large", std::string(65537, 'x')).string();
    const std::vector<std::pair<Arguments, const char*>> wrong = {
        {{"sign", "releases", "--in", there}, "alias/<name>"},
        {{"sign", "alias/a", "--in", there, "--out", there}, "exists already"},
        {{"sign", "alias/a", "--in", "/nowhere/x", "--url", "https://h:1"}, "/nowhere/x"},
        {{"sign", "alias/a", "--in", large}, "larger than 65536"},
        {{"verify", "alias/a", "--in", there}, "--signature"},
        {{"verify", "alias/a", "--signature", "-"}, "standard input"},
        {{"verify", "alias/a", "--signature", there, "--base64", "--in", there}, "base64"},
        {{"public-key", "alias/a", "--version", "0"}, "0"},
        {{"key", "create", "--kind", "des"}, "des"},
        {{"key", "create", "--rotation-days", "0"}, "0"},
        {{"key", "create", "--context-rule", there}, "there"},
        {{"key", "change", "alias/a"}, "nothing to change"},
        {{"key", "change", "alias/a", "--rotation-days", "x"}, "--rotation-days"},
        {{"key", "change", "alias/a", "--tag", "a=1", "--without-tags"}, "exclude"},
        {{"key", "schedule-deletion", "alias/a", "--days", "6"}, "6"},
        {{"key", "schedule-deletion", "alias/a"}, "--yes"},
        {{"alias", "set", "a"}, "KEY"},
        {{"encrypt", "alias/a", "--in", large}, "larger than 4096"},
        {{"decrypt", "--in", there, "--plaintext-out", there}, "exists already"},
        {{"data-key", "rewrap", "--in", there}, "line 1"},
        {{"inventory", "--format", "spdx"}, "spdx"}};
    for (const auto& [arguments, part] : wrong) {
        const auto outcome = run(arguments);
        EXPECT_EQ(outcome.exit_code, 2) << arguments.front() << outcome.output;
        EXPECT_TRUE(contains(outcome.output, part)) << part << " in: " << outcome.output;
    }
}

}  // namespace
}  // namespace tests
