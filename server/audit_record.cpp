#include "server/audit_record.h"

#include <algorithm>

#include "base/encoding.h"
#include "base/json.h"
#include "server/audit_context.h"

namespace server {
namespace {

using base::JsonWriter;

constexpr std::size_t hash_hex_digits = 64;
constexpr std::size_t usual_record_bytes = 1536;
constexpr std::string_view previous_start = ",\"previous\":\"";
constexpr std::string_view line_close = "\"}";

void write_caller(JsonWriter& out, std::string_view name, const Caller& caller) {
    out.name(name).begin_object();
    out.field("id", caller.id);
    out.field("method", to_string(caller.method));
    if (!caller.credential.empty()) out.field("credential", caller.credential);
    // On whose connection a bearer came: a stolen one shows there.
    if (const auto found = caller.claims.find("connection"); found != caller.claims.end()) {
        if (!found->second.empty()) out.field("connection", found->second.front());
    }
    out.field("address", caller.address);
    out.end_object();
}

void write_decisions(JsonWriter& out, const AuditConfig& config,
                     const std::vector<DecidedAccess>& decided) {
    RecordContexts contexts(config.context.get());
    out.name("decisions").begin_array();
    for (const DecidedAccess& access : decided) {
        out.begin_object().field("action", access.action);
        out.name("resource").begin_object();
        out.field("kind", access.resource.kind);
        out.field("id", access.resource.id);
        out.field("owner", access.resource.owner);
        out.end_object();
        contexts.write(out, access.context);
        out.field("allowed", access.decision.allowed);
        out.field("rule", access.decision.rule);
        out.field("policy", access.decision.policy_hash);
        if (access.of_user) out.field("of", "user");
        if (access.decision.allowed && access.decision.any_owner &&
            !access.resource.owner_from_caller) {
            out.field("for_another_owner", true);
        }
        out.end_object();
    }
    out.end_array();
}

void write_items(JsonWriter& out, const std::vector<ItemOutcome>& items) {
    out.name("items").begin_array();
    for (const ItemOutcome& item : items) {
        out.begin_object();
        out.field("resource", item.resource).field("outcome", item.outcome);
        if (!item.made.empty()) out.field("made", item.made);
        if (!item.key.empty()) out.field("key", item.key);
        if (!item.items.empty()) out.field("items", item.items);
        if (item.decision) out.field("decision", std::uint64_t{*item.decision});
        if (!item.traceparent.empty()) out.field("traceparent", item.traceparent);
        out.end_object();
    }
    out.end_array();
}

// A clock that was set back makes no negative duration.
std::int64_t duration_us(base::Time started, base::Time now) {
    return std::max<std::int64_t>(
        0, std::chrono::duration_cast<std::chrono::microseconds>(now - started).count());
}

}  // namespace

base::WipedString audit_fields(const AuditConfig& config, const Operation& operation,
                               const Outcome& outcome, base::Time now) {
    JsonWriter out(JsonWriter::Style::compact, usual_record_bytes);
    out.begin_object();
    out.field("time", base::to_rfc3339(now));
    out.field("daemon", config.daemon);
    out.field("node", config.node);
    out.field("request_id", operation.request_id().to_string());
    out.field("traceparent", operation.traceparent());
    write_caller(out, "caller", operation.caller());
    if (operation.user()) write_caller(out, "user", *operation.user());
    out.field("action", operation.action());
    write_decisions(out, config, operation.decided());
    write_items(out, operation.items());
    out.field("facts", operation.facts());
    out.field("outcome", outcome.word);
    out.field("error", outcome.error);
    out.field("status", std::uint32_t{outcome.status});
    out.field("duration_us", duration_us(operation.started(), now));
    out.end_object();
    base::WipedString text = out.take();
    text.pop_back();
    text.erase(0, 1);
    return text;
}

void append_audit_line(std::string& out, std::uint64_t sequence, std::string_view fields,
                       std::string_view previous_hex) {
    out += "{\"sequence\":";
    out += std::to_string(sequence);
    out += ',';
    out += fields;
    out += previous_start;
    out += previous_hex;
    out += line_close;
}

std::string line_hash(std::string_view line, MerkleHasher& hasher) {
    return base::to_hex(hasher.leaf(line));
}

bool follows(std::string_view line, std::string_view previous_hex) {
    if (!line.ends_with(line_close)) return false;
    line.remove_suffix(line_close.size());
    if (!line.ends_with(previous_hex)) return false;
    line.remove_suffix(previous_hex.size());
    return line.ends_with(previous_start);
}

std::uint64_t sequence_of(std::string_view line) {
    base::JsonLimits limits;
    limits.bytes = line.size();
    const base::JsonValue record = base::parse_json(line, limits);
    const base::JsonValue* sequence = record.find("sequence");
    const auto value = sequence == nullptr ? std::nullopt : sequence->integer();
    if (!value || *value < 1) {
        throw base::Error(base::ErrorCode::invalid_argument, "the line is no audit record");
    }
    return static_cast<std::uint64_t>(*value);
}

std::string first_previous() { return std::string(hash_hex_digits, '0'); }

}  // namespace server
