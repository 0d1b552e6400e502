#include "server/audit_query.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "server/audit_journal_lines.h"
#include "server/audit_segments.h"
#include "server/policy_pattern.h"

namespace server {
namespace {

using base::JsonValue;

// The member's text; empty when there is none.
std::string text_of_member(const JsonValue& object, std::string_view name) {
    const JsonValue* member = object.find(name);
    const auto* text = member == nullptr ? nullptr : member->string();
    return text == nullptr ? std::string() : std::string(*text);
}

std::int64_t number_of_member(const JsonValue& object, std::string_view name) {
    const JsonValue* member = object.find(name);
    return member == nullptr ? 0 : member->integer().value_or(0);
}

const JsonValue::Array& items_of_member(const JsonValue& object, std::string_view name) {
    static const JsonValue::Array none;
    const JsonValue* member = object.find(name);
    const auto* items = member == nullptr ? nullptr : member->array();
    return items == nullptr ? none : *items;
}

void add_resource(AuditRow& row, std::string resource) {
    const bool known =
        std::find(row.resources.begin(), row.resources.end(), resource) != row.resources.end();
    if (!resource.empty() && !known) row.resources.push_back(std::move(resource));
}

void read_decisions(const JsonValue& record, AuditRow& row) {
    for (const JsonValue& decision : items_of_member(record, "decisions")) {
        if (const JsonValue* resource = decision.find("resource")) {
            const std::string owner = text_of_member(*resource, "owner");
            add_resource(row, text_of_member(*resource, "kind") + ':' +
                                  (owner.empty() ? "" : owner + '/') +
                                  text_of_member(*resource, "id"));
        }
        row.rules.push_back(text_of_member(decision, "rule"));
        const JsonValue* allowed = decision.find("allowed");
        const bool* yes = allowed == nullptr ? nullptr : allowed->boolean();
        row.refused = row.refused || (yes != nullptr && !*yes);
    }
    for (const JsonValue& item : items_of_member(record, "items")) {
        add_resource(row, text_of_member(item, "resource"));
    }
}

// The call's and those of its items, each once, with spaces between.
std::string read_traces(const JsonValue& record) {
    std::string traces = text_of_member(record, "traceparent");
    for (const JsonValue& item : items_of_member(record, "items")) {
        const std::string trace = text_of_member(item, "traceparent");
        if (trace.empty() || traces.find(trace) != std::string::npos) continue;
        if (!traces.empty()) traces += ' ';
        traces += trace;
    }
    return traces;
}

std::string read_facts(const JsonValue& record) {
    const JsonValue* facts = record.find("facts");
    std::string text;
    if (facts == nullptr || facts->object() == nullptr) return text;
    for (const auto& [name, value] : *facts->object()) {
        if (!text.empty()) text += ", ";
        text.append(name).append("=").append(text_of_member(*facts, name));
    }
    return text;
}

bool fits(const std::string& pattern, std::string_view text) {
    return pattern.empty() || Glob(pattern, false).matches(text, nullptr) == Fit::yes;
}

// "key:<id>", "<id>" and "<id>/<version>" all name the key.
bool names(const std::string& resource, const std::string& pattern) {
    const std::size_t colon = resource.find(':');
    const std::string id = colon == std::string::npos ? resource : resource.substr(colon + 1);
    const std::string unversioned = id.substr(0, id.find('/'));
    return fits(pattern, resource) || fits(pattern, id) || fits(pattern, unversioned);
}

std::string joined(const std::vector<std::string>& texts) {
    std::string all;
    for (const std::string& text : texts) {
        if (!all.empty()) all += ' ';
        all += text;
    }
    return all;
}

void add_cell(std::string& line, std::string text) {
    constexpr std::string_view formula_starts = "=+-@\t\r";
    if (!text.empty() && formula_starts.find(text.front()) != std::string_view::npos) {
        text.insert(0, 1, '\'');
    }
    if (text.find_first_of(",\"\r\n") != std::string::npos) {
        for (std::size_t at = 0; (at = text.find('"', at)) != std::string::npos; at += 2) {
            text.insert(at, 1, '"');
        }
        text = '"' + text + '"';
    }
    if (!line.empty()) line += ',';
    line += text;
}

}  // namespace

std::optional<AuditRow> read_audit_row(std::string_view line) {
    base::JsonLimits limits;
    limits.bytes = line.size();
    try {
        const JsonValue record = base::parse_json(line, limits);
        AuditRow row;
        const std::int64_t sequence = number_of_member(record, "sequence");
        if (sequence < 1) return std::nullopt;
        row.sequence = static_cast<std::uint64_t>(sequence);
        row.time = text_of_member(record, "time");
        row.daemon = text_of_member(record, "daemon");
        row.node = text_of_member(record, "node");
        row.request_id = text_of_member(record, "request_id");
        row.traceparent = read_traces(record);
        if (const JsonValue* caller = record.find("caller")) {
            row.caller = text_of_member(*caller, "id");
            row.method = text_of_member(*caller, "method");
            row.address = text_of_member(*caller, "address");
        }
        row.action = text_of_member(record, "action");
        read_decisions(record, row);
        row.facts = read_facts(record);
        row.outcome = text_of_member(record, "outcome");
        row.error = text_of_member(record, "error");
        row.status = number_of_member(record, "status");
        row.duration_us = number_of_member(record, "duration_us");
        return row;
    } catch (const base::Error&) {
        return std::nullopt;
    }
}

bool wanted(const AuditRow& row, const AuditFilter& filter) {
    if (!fits(filter.caller, row.caller) || !fits(filter.action, row.action)) return false;
    if (!fits(filter.outcome, row.outcome) && !fits(filter.outcome, row.error)) return false;
    if (!filter.key.empty() &&
        std::none_of(row.resources.begin(), row.resources.end(),
                     [&](const std::string& resource) { return names(resource, filter.key); })) {
        return false;
    }
    if (!filter.from && !filter.before) return true;
    const auto time = base::parse_rfc3339(row.time);
    return time && (!filter.from || *time >= *filter.from) &&
           (!filter.before || *time < *filter.before);
}

void read_audit_log(const std::filesystem::path& directory, const AuditFilter& filter,
                    const std::function<bool(const AuditRow&, std::string_view)>& take,
                    std::uint64_t& unreadable) {
    const auto goes_on = [&](std::string_view line) {
        const auto row = read_audit_row(line);
        if (!row) ++unreadable;
        return !row || !wanted(*row, filter) || take(*row, line);
    };
    JournalLines journal(directory);
    for (const AuditSegment& segment : audit_segments(directory)) {
        SegmentLines lines(segment);
        for (std::string_view line; lines.next(line);) {
            if (!journal.watch(line, segment.first == 0)) break;
            if (!goes_on(line)) return;
        }
    }
    for (auto rest = journal.begin_of_rest(); rest != journal.all().end(); ++rest) {
        if (!goes_on(rest->second)) return;
    }
}

std::string audit_csv_heading() {
    return "sequence,time,daemon,node,request_id,traceparent,caller,method,address,action,"
           "resources,"
           "rules,outcome,error,status,duration_us,facts\r\n";
}

std::string audit_csv_line(const AuditRow& row) {
    std::string line = std::to_string(row.sequence);
    for (const std::string& text :
         {row.time, row.daemon, row.node, row.request_id, row.traceparent, row.caller, row.method,
          row.address, row.action, joined(row.resources), joined(row.rules), row.outcome, row.error,
          std::to_string(row.status), std::to_string(row.duration_us), row.facts}) {
        add_cell(line, text);
    }
    return line + "\r\n";
}

}  // namespace server
