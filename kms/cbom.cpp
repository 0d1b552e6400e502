#include "kms/cbom.h"

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "base/error.h"

namespace kms {
namespace {

using base::JsonValue;
using base::JsonWriter;

// What CycloneDX asks of an algorithm. Security levels: NIST SP 800-57 part 1, table 2, and the
// categories of NIST's post-quantum project.
struct Algorithm {
    std::string_view kind;
    std::string_view name;
    std::string_view primitive;
    std::string_view parameters;
    std::string_view curve;  // by https://neuromancer.sk/std/; empty: none
    std::string_view mode;   // empty: none
    std::string_view oid;
    std::array<std::string_view, 3> functions;
    std::int64_t key_bits;
    std::int64_t classical_level;
    std::int64_t quantum_level;
};

constexpr std::array algorithms{
    Algorithm{"aes_256",
              "AES-256-GCM",
              "ae",
              "256",
              "",
              "gcm",
              "2.16.840.1.101.3.4.1.46",
              {"keygen", "encrypt", "decrypt"},
              256,
              256,
              5},
    Algorithm{"hmac_sha_256",
              "HMAC-SHA-256",
              "mac",
              "256",
              "",
              "",
              "1.2.840.113549.2.9",
              {"keygen", "tag", "verify"},
              256,
              256,
              5},
    Algorithm{"ecdsa_p256",
              "ECDSA-P256-SHA-256",
              "signature",
              "256",
              "nist/P-256",
              "",
              "1.2.840.10045.4.3.2",
              {"keygen", "sign", "verify"},
              256,
              128,
              0},
    Algorithm{"ecdsa_p384",
              "ECDSA-P384-SHA-384",
              "signature",
              "384",
              "nist/P-384",
              "",
              "1.2.840.10045.4.3.3",
              {"keygen", "sign", "verify"},
              384,
              192,
              0},
    Algorithm{"ed25519",
              "Ed25519",
              "signature",
              "256",
              "other/Ed25519",
              "",
              "1.3.101.112",
              {"keygen", "sign", "verify"},
              256,
              128,
              0},
    Algorithm{"rsa_pss_3072",
              "RSASSA-PSS-3072-SHA-256",
              "signature",
              "3072",
              "",
              "",
              "1.2.840.113549.1.1.10",
              {"keygen", "sign", "verify"},
              3072,
              128,
              0},
    Algorithm{"rsa_pss_4096",
              "RSASSA-PSS-4096-SHA-256",
              "signature",
              "4096",
              "",
              "",
              "1.2.840.113549.1.1.10",
              {"keygen", "sign", "verify"},
              4096,
              128,
              0},
};

[[noreturn]] void no_description(const std::string& why) {
    throw base::Error(base::ErrorCode::internal, "the key service's answer makes no sense", why);
}

const Algorithm& algorithm_of(std::string_view kind) {
    const auto* found = std::find_if(algorithms.begin(), algorithms.end(),
                                     [&](const Algorithm& each) { return each.kind == kind; });
    if (found == algorithms.end()) no_description("kind " + std::string(kind));
    return *found;
}

std::string text_of(const JsonValue& object, std::string_view member) {
    const JsonValue* value = object.find(member);
    if (value == nullptr || value->is_null()) return {};
    if (const auto* text = value->string()) return std::string(*text);
    return std::string(base::to_json(*value));
}

const JsonValue::Array& list_of(const JsonValue& object, std::string_view member) {
    static const JsonValue::Array nothing;
    const JsonValue* value = object.find(member);
    return value == nullptr || value->array() == nullptr ? nothing : *value->array();
}

std::string algorithm_ref(std::string_view kind) { return "algorithm/" + std::string(kind); }

// NIST SP 800-57 part 1, 7. Older versions of an enabled key open and verify, no more.
std::string_view state_of(const JsonValue& key, const JsonValue& version) {
    const std::string of_version = text_of(version, "state");
    const std::string of_key = text_of(key, "state");
    if (of_version == "pending" || of_key == "pending") return "pre-activation";
    if (of_version == "destroyed" || of_key == "destroyed") return "destroyed";
    if (key.find("compromised_at") != nullptr) return "compromised";
    if (of_key == "disabled") return "suspended";
    if (of_key == "pending_deletion") return "deactivated";
    const bool is_primary = text_of(version, "version") == text_of(key, "primary_version");
    return is_primary ? "active" : "deactivated";
}

class Cbom {
public:
    explicit Cbom(const CbomSubject& subject) : subject_(subject) {}

    base::WipedString write(const JsonValue::Array& keys) {
        out_.begin_object();
        out_.field("$schema", "http://cyclonedx.org/schema/bom-1.6.schema.json");
        out_.field("bomFormat", "CycloneDX").field("specVersion", "1.6");
        out_.field("serialNumber", "urn:uuid:" + subject_.serial.to_string());
        out_.field("version", std::int64_t{1});
        write_metadata();
        out_.name("components").begin_array();
        std::set<std::string> kinds;
        for (const JsonValue& key : keys) kinds.insert(text_of(key, "kind"));
        for (const auto& kind : kinds) write_algorithm(algorithm_of(kind));
        for (const JsonValue& key : keys) write_key(key);
        out_.end_array();
        write_dependencies();
        out_.end_object();
        return out_.take();
    }

private:
    void write_metadata() {
        out_.name("metadata").begin_object();
        out_.field("timestamp", base::to_rfc3339(subject_.at));
        out_.name("tools").begin_object().name("components").begin_array().begin_object();
        out_.field("type", "application").field("name", "kmsctl");
        out_.field("version", subject_.tool_version).end_object().end_array().end_object();
        out_.name("component").begin_object().field("type", "application");
        out_.field("bom-ref", "service").field("name", "Strongroom key service");
        if (!subject_.service.empty()) out_.field("description", subject_.service);
        out_.end_object();
        out_.end_object();
    }

    void begin_asset(const std::string& reference, std::string_view name, std::string_view type) {
        out_.begin_object().field("type", "cryptographic-asset");
        out_.field("bom-ref", reference).field("name", name);
        out_.name("cryptoProperties").begin_object().field("assetType", type);
    }

    void write_algorithm(const Algorithm& algorithm) {
        begin_asset(algorithm_ref(algorithm.kind), algorithm.name, "algorithm");
        out_.name("algorithmProperties").begin_object();
        out_.field("primitive", algorithm.primitive);
        out_.field("parameterSetIdentifier", algorithm.parameters);
        if (!algorithm.curve.empty()) out_.field("curve", algorithm.curve);
        if (!algorithm.mode.empty()) out_.field("mode", algorithm.mode);
        out_.name("cryptoFunctions").begin_array();
        for (const std::string_view function : algorithm.functions) out_.string(function);
        out_.end_array();
        out_.field("classicalSecurityLevel", algorithm.classical_level);
        out_.field("nistQuantumSecurityLevel", algorithm.quantum_level).end_object();
        out_.field("oid", algorithm.oid).end_object().end_object();
        references_.push_back({algorithm_ref(algorithm.kind), ""});
    }

    void write_key(const JsonValue& key) {
        const Algorithm& algorithm = algorithm_of(text_of(key, "kind"));
        for (const JsonValue& version : list_of(key, "versions")) {
            const std::string name = text_of(key, "id") + "/" + text_of(version, "version");
            const std::string pem = text_of(version, "public_key");
            const bool is_pair = algorithm.primitive == "signature";
            write_material(key, version, algorithm, "key/" + name,
                           is_pair ? "private-key" : "secret-key", {});
            if (is_pair && !pem.empty())
                write_material(key, version, algorithm, "public-key/" + name, "public-key", pem);
        }
    }

    // `pem` of a public key; empty for what stays in the token.
    void write_material(const JsonValue& key, const JsonValue& version, const Algorithm& algorithm,
                        const std::string& reference, std::string_view type,
                        const std::string& pem) {
        begin_asset(reference, name_of(key, version), "related-crypto-material");
        out_.name("relatedCryptoMaterialProperties").begin_object().field("type", type);
        out_.field("id", text_of(version, "token_key_id")).field("state", state_of(key, version));
        out_.field("algorithmRef", algorithm_ref(algorithm.kind));
        out_.field("creationDate", text_of(version, "created_at"));
        out_.field("size", algorithm.key_bits);
        if (pem.empty()) {
            out_.name("securedBy").begin_object().field("mechanism", "PKCS#11 token").end_object();
        } else {
            out_.field("value", pem).field("format", "PEM");
        }
        out_.end_object().end_object();
        write_properties(key, version);
        out_.end_object();
        references_.push_back({reference, algorithm_ref(algorithm.kind)});
    }

    static std::string name_of(const JsonValue& key, const JsonValue& version) {
        const JsonValue::Array& aliases = list_of(key, "aliases");
        const bool has_alias = !aliases.empty() && aliases.front().string() != nullptr;
        const std::string name = has_alias ? "alias/" + std::string(*aliases.front().string())
                                           : "key " + text_of(key, "id");
        return name + ", version " + text_of(version, "version");
    }

    void write_property(std::string_view name, std::string_view value) {
        if (value.empty() || value == "null") return;
        out_.begin_object().field("name", "strongroom:" + std::string(name));
        out_.field("value", value).end_object();
    }

    // What was read from the token is the evidence.
    void write_properties(const JsonValue& key, const JsonValue& version) {
        out_.name("properties").begin_array();
        for (const char* name : {"id", "profile", "use"}) write_property(name, text_of(key, name));
        for (const char* name : {"next_rotation_at", "deletion_at", "destroyed_at"})
            write_property(name, text_of(key, name));
        write_property("version", text_of(version, "version"));
        write_property("last_used_at", text_of(version, "last_used_at"));
        if (const JsonValue* attributes = version.find("attributes"); attributes != nullptr) {
            for (const char* name : {"sensitive", "always_sensitive", "extractable",
                                     "never_extractable", "local", "mechanism"})
                write_property("token:" + std::string(name), text_of(*attributes, name));
            if (const JsonValue* check = attributes->find("check_value"); check != nullptr) {
                write_property("token:check_value", text_of(*check, "value"));
                write_property("token:check_value_method", text_of(*check, "method"));
            }
        }
        out_.end_array();
    }

    void write_dependencies() {
        out_.name("dependencies").begin_array();
        for (const Reference& each : references_) {
            out_.begin_object().field("ref", each.from);
            if (!each.to.empty()) out_.name("dependsOn").begin_array().string(each.to).end_array();
            out_.end_object();
        }
        out_.end_array();
    }

    struct Reference {
        std::string from, to;
    };
    const CbomSubject& subject_;
    JsonWriter out_{JsonWriter::Style::indented};
    std::vector<Reference> references_;
};

}  // namespace

base::WipedString write_cbom(const CbomSubject& subject, const JsonValue::Array& keys) {
    return Cbom(subject).write(keys);
}

}  // namespace kms
