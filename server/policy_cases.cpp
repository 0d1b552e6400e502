#include "server/policy_cases.h"

#include "base/file.h"
#include "base/json.h"
#include "server/policy_explain.h"
#include "server/policy_rules.h"

namespace server {
namespace {

using base::JsonReader;

constexpr std::size_t max_case_bytes = 16UL * 1024 * 1024;
constexpr std::size_t max_cases = 100'000;
constexpr std::size_t max_field_bytes = 2048;
constexpr std::size_t max_entries = 64;
constexpr std::size_t max_entry_bytes = 8192;

std::string text_field(JsonReader& reader, std::string_view name, std::string_view otherwise = {}) {
    return std::string(reader.optional_string(name, max_field_bytes).value_or(otherwise));
}

Caller read_caller(JsonReader& item) {
    Caller caller;
    caller.id = item.required_string("caller", max_field_bytes);
    const std::string word = text_field(item, "authentication", "client_certificate");
    const auto method = parse_authentication_method(word);
    if (!method) item.refuse("authentication", "is no method: \"" + word + "\"");
    caller.method = *method;
    caller.address = text_field(item, "address");
    if (auto claims = item.optional_object("claims")) {
        for (const auto& member : claims->members()) {
            caller.claims[std::string(member.name)] =
                claims->optional_string_array(member.name, max_entries, max_field_bytes);
        }
    }
    return caller;
}

Resource read_resource(JsonReader reader) {
    Resource resource;
    resource.kind = reader.required_string("kind", 64);
    resource.id = text_field(reader, "id");
    resource.owner = text_field(reader, "owner");
    resource.aliases = reader.optional_string_array("aliases", max_entries, max_field_bytes);
    resource.tags = reader.optional_string_map("tags", max_entries, max_entry_bytes);
    reader.refuse_unknown();
    return resource;
}

StoredQuestion read_question(JsonReader& item) {
    StoredQuestion question;
    question.caller = read_caller(item);
    question.action = item.required_string("action", 64);
    question.resource = read_resource(item.required_object("resource"));
    question.context = item.optional_string_map("context", max_entries, max_entry_bytes);
    if (const auto text = item.optional_string("time", 64)) {
        const auto time = base::parse_rfc3339(*text);
        if (!time) item.refuse("time", "must be like 2026-11-25T10:00:00Z (RFC 3339)");
        question.now = *time;
    }
    return question;
}

CaseResult run_case(JsonReader item, const Policy& policy) {
    const StoredQuestion question = read_question(item);
    const auto expect = item.required_string("expect", 5);
    if (expect != "allow" && expect != "deny") {
        item.refuse("expect", "must be \"allow\" or \"deny\"");
    }
    const auto rule = item.required_string("rule", 64);
    item.refuse_unknown();
    const Decision decision = policy.decide(question.view());
    const Resource& resource = question.resource;
    CaseResult result;
    result.question = question.caller.id + " " + question.action + " " + resource.kind + ":" +
                      (resource.owner.empty() ? "" : resource.owner + "/") + resource.id;
    result.expected = std::string(expect) + ", rule " + std::string(rule);
    result.decided = (decision.allowed ? "allow, rule " : "deny, rule ") + decision.rule;
    return result;
}

}  // namespace

std::vector<CaseResult> run_policy_cases(const std::filesystem::path& cases,
                                         const WordsOf& words_of) {
    base::JsonLimits limits;
    limits.bytes = max_case_bytes;
    limits.comments = true;
    const auto document = base::parse_json(base::read_file(cases, limits.bytes), limits);
    JsonReader top(document);
    std::vector<CaseResult> results;
    for (const auto& member : top.members()) {
        JsonReader suite(member.value, std::string(member.name));
        const std::string file = text_field(suite, "policy");
        const std::string daemon = text_field(suite, "daemon");
        const PolicyWords words = words_of(daemon);
        if (words.empty()) suite.refuse("daemon", "names no daemon with policies");
        std::shared_ptr<const Policy> policy;
        try {
            policy =
                parse_policy(base::read_file(cases.parent_path() / file, max_policy_bytes), words);
        } catch (const base::Error& error) {
            throw base::Error(error.code(), file + ": " + error.message());
        }
        const auto& items = suite.required_array("cases", max_cases);
        suite.refuse_unknown();
        for (std::size_t i = 0; i < items.size(); ++i) {
            results.push_back(run_case(JsonReader(items[i], suite.item_path("cases", i)), *policy));
            results.back().suite = member.name;
            results.back().number = i;
        }
    }
    return results;
}

}  // namespace server
