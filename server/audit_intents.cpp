#include "server/audit_intents.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "server/audit_segments.h"

namespace server {
namespace {

using base::JsonValue;

// May stand in a context, too: who finds it has to read the record.
constexpr std::string_view intent_mark = "\"outcome\":\"intent\"";
constexpr std::string_view unknown_mark = "\"outcome\":\"unknown\"";
constexpr std::string_view request_mark = ",\"request_id\":\"";
constexpr std::string_view of_request_mark = "\"of_request\":\"";
constexpr std::size_t uuid_digits = 36;

std::string member_text(const JsonValue& object, std::string_view name) {
    const JsonValue* member = object.find(name);
    const auto* text = member == nullptr ? nullptr : member->string();
    return text == nullptr ? std::string() : std::string(*text);
}

// The line's request id; empty when it is none of ours. The mark's first place is the record's own:
// before it stand numbers, times and two names, in which a quote is escaped.
std::string_view request_of(std::string_view line) {
    const std::size_t at = line.find(request_mark);
    return at == std::string_view::npos ? std::string_view()
                                        : line.substr(at + request_mark.size(), uuid_digits);
}

void read_resources(const JsonValue& record, UnfinishedIntent& intent) {
    const JsonValue* decisions = record.find("decisions");
    if (decisions == nullptr || decisions->array() == nullptr) return;
    for (const JsonValue& decision : *decisions->array()) {
        const JsonValue* resource = decision.find("resource");
        if (resource == nullptr) continue;
        const std::string owner = member_text(*resource, "owner");
        std::string name = member_text(*resource, "kind") + ':' +
                           (owner.empty() ? owner : owner + '/') + member_text(*resource, "id");
        auto& known = intent.resources;
        if (std::find(known.begin(), known.end(), name) == known.end())
            known.push_back(std::move(name));
    }
}

// Empty when the line is no record of an intent.
std::optional<UnfinishedIntent> read_intent(std::string_view line) {
    if (line.find(intent_mark) == std::string_view::npos) return std::nullopt;
    base::JsonLimits limits;
    limits.bytes = line.size();
    try {
        const JsonValue record = base::parse_json(line, limits);
        const auto request_id = base::Uuid::parse(member_text(record, "request_id"));
        const auto sequence = leading_sequence(line);
        if (member_text(record, "outcome") != "intent" || !request_id || !sequence)
            return std::nullopt;
        UnfinishedIntent intent;
        intent.request_id = *request_id;
        intent.sequence = *sequence;
        intent.action = member_text(record, "action");
        read_resources(record, intent);
        const JsonValue* facts = record.find("facts");
        if (facts == nullptr || facts->object() == nullptr) return intent;
        for (const auto& [name, value] : *facts->object())
            intent.facts.emplace(name, member_text(*facts, name));
        return intent;
    } catch (const base::Error&) {
        return std::nullopt;
    }
}

// Whether it is the record in which a start has told of the intent.
bool tells_unknown(std::string_view line) {
    if (line.find(unknown_mark) == std::string_view::npos) return false;
    base::JsonLimits limits;
    limits.bytes = line.size();
    try {
        return member_text(base::parse_json(line, limits), "outcome") == "unknown";
    } catch (const base::Error&) {
        return false;
    }
}

// By request id.
using OpenIntents = std::map<std::string, UnfinishedIntent, std::less<>>;

void close_by(std::string_view line, OpenIntents& open) {
    if (const auto found = open.find(request_of(line)); found != open.end()) {
        if (tells_unknown(line)) {
            found->second.is_told = true;
        } else {
            open.erase(found);
        }
    }
    const std::size_t at = line.find(of_request_mark);
    if (at == std::string_view::npos) return;
    const auto named = open.find(line.substr(at + of_request_mark.size(), uuid_digits));
    if (named != open.end()) open.erase(named);
}

struct Stretch {
    AuditSegment segment;
    std::uint64_t from = 0;
};

// The end of the log, oldest first.
std::vector<Stretch> last_stretches(const std::filesystem::path& directory, std::uint64_t bytes) {
    auto segments = audit_segments(directory);
    std::vector<Stretch> stretches;
    for (auto segment = segments.rbegin(); segment != segments.rend() && bytes > 0; ++segment) {
        std::error_code unknown;  // then it can't be opened either, and that is told
        const std::uint64_t size = std::filesystem::file_size(segment->path, unknown);
        const bool in_part = !segment->compressed && !unknown && size > bytes;
        const std::uint64_t from = in_part ? size - bytes : 0;
        stretches.push_back({std::move(*segment), from});
        bytes -= std::min(bytes, unknown ? 0 : size);
    }
    std::reverse(stretches.begin(), stretches.end());
    return stretches;
}

}  // namespace

std::vector<UnfinishedIntent> unfinished_intents(const std::filesystem::path& directory,
                                                 std::uint64_t search_bytes) {
    OpenIntents open;
    for (const Stretch& stretch : last_stretches(directory, search_bytes)) {
        // From the byte before on: what next() gives first is the end of a line then.
        SegmentLines lines(stretch.segment, stretch.from > 0 ? stretch.from - 1 : 0);
        std::string_view line;
        if (stretch.from > 0) lines.next(line);
        while (lines.next(line)) {
            if (auto intent = read_intent(line)) {
                open.insert_or_assign(intent->request_id.to_string(), std::move(*intent));
            } else if (!open.empty()) {
                close_by(line, open);
            }
        }
    }
    std::vector<UnfinishedIntent> unfinished;
    unfinished.reserve(open.size());
    for (auto& [request, intent] : open) unfinished.push_back(std::move(intent));
    std::sort(unfinished.begin(), unfinished.end(),
              [](const auto& left, const auto& right) { return left.sequence < right.sequence; });
    return unfinished;
}

}  // namespace server
