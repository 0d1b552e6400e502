// kmsctl inventory, for people and as a bill of materials.
#include <set>

#include "base/clock.h"
#include "base/file.h"
#include "tests/kms/kmsctl_commands.h"

namespace tests {
namespace {

class KmsctlInventory : public KmsctlCommands {};

TEST_F(KmsctlInventory, TheInventoryHasEveryVersionWithWhatTheTokenSays) {
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

TEST_F(KmsctlInventory, TheCbomIsCycloneDx16) {
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

}  // namespace
}  // namespace tests
