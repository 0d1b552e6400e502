#include "vault/import/revealed.h"

#include <map>

#include "base/clock.h"
#include "vault/import/patience.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonReader;
using base::JsonValue;

constexpr std::size_t max_reveals_of_call = 100;
constexpr std::size_t max_said_bytes = 1000;

// Items of one owner, by their positions.
struct OwnersReveal {
    std::string owner;
    std::vector<std::size_t> positions;
};

std::vector<OwnersReveal> by_owner(std::span<const ImportItem* const> items) {
    std::vector<OwnersReveal> calls;
    std::map<std::string, std::size_t, std::less<>> open;  // the call that has room, by owner
    for (std::size_t i = 0; i < items.size(); ++i) {
        const std::string& owner = items[i]->owner;
        const auto [place, is_new] = open.try_emplace(owner, calls.size());
        if (!is_new && calls[place->second].positions.size() == max_reveals_of_call)
            place->second = calls.size();
        if (place->second == calls.size()) calls.push_back({owner, {}});
        calls[place->second].positions.push_back(i);
    }
    return calls;
}

RevealedResult read_revealed(const JsonValue& result) {
    JsonReader reader(result);
    if (auto failed = reader.optional_object("error")) {
        const std::string message(failed->required_string("message", max_said_bytes));
        const auto word = failed->required_string("code", max_said_bytes);
        for (const ErrorCode code :
             {ErrorCode::not_found, ErrorCode::permission_denied, ErrorCode::integrity_failure,
              ErrorCode::failed_precondition, ErrorCode::invalid_argument}) {
            if (word == to_string(code)) return Error(code, message);
        }
        return Error(ErrorCode::internal, message);
    }
    RevealedCredential found;
    found.secret = reader.required_value("secret");
    found.metadata = reader.required_value("metadata");
    found.expires_at = reader.optional_string("expires_at", max_said_bytes).value_or("");
    found.version = static_cast<std::uint64_t>(reader.required_integer("version", 1, INT64_MAX));
    return found;
}

void reveal_of_owner(kms::Client& client, const OwnersReveal& call, const std::string& reason,
                     std::span<const ImportItem* const> items, std::vector<RevealedResult>& out) {
    base::JsonWriter body;
    body.begin_object().name("items").begin_array();
    for (const std::size_t position : call.positions)
        body.begin_object().field("name", items[position]->name).end_object();
    body.end_array();
    if (!reason.empty()) body.field("reason", reason);
    body.end_object();
    kms::CallOptions options;
    options.repeatable = true;
    const JsonValue answer = client.call(
        "POST", "/v1/owners/" + kms::path_segment(call.owner) + "/reveal", body.text(), options);
    JsonReader reader(answer);
    const auto& results =
        reader.required_array("results", call.positions.size(), call.positions.size());
    for (std::size_t i = 0; i < results.size(); ++i)
        out[call.positions[i]] = read_revealed(results[i]);
}

}  // namespace

std::vector<RevealedResult> reveal_items(kms::Client& client,
                                         std::span<const ImportItem* const> items,
                                         const RevealHow& how) {
    std::vector<RevealedResult> out(items.size(),
                                    Error(ErrorCode::internal, "nothing was revealed"));
    const auto calls = by_owner(items);
    in_parallel(how.workers, calls.size(), [&](std::size_t i) {
        try {
            with_patience(how.patience,
                          [&] { reveal_of_owner(client, calls[i], how.reason, items, out); });
        } catch (const Error& error) {
            // Who may see nothing of one owner may see another's.
            if (error.code() != ErrorCode::permission_denied) throw;
            for (const std::size_t position : calls[i].positions) out[position] = error;
        }
    });
    return out;
}

const char* difference(const ImportItem& item, const RevealedCredential& found) {
    if (!is_same_json(item.secret, found.secret)) return "another secret";
    if (item.metadata && !is_same_json(*item.metadata, found.metadata)) return "other metadata";
    if (item.expires_at &&
        base::parse_rfc3339(*item.expires_at) != base::parse_rfc3339(found.expires_at))
        return "another expiry";
    return nullptr;
}

bool is_same_json(const JsonValue& left, const JsonValue& right) {
    const base::WipedString text = base::to_json(left);
    return text == base::to_json(right);
}

}  // namespace vault
