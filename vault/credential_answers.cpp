#include "vault/credential_answers.h"

#include <algorithm>
#include <charconv>

#include "base/encoding.h"
#include "base/error.h"
#include "server/answer.h"
#include "vault/service.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonWriter;

constexpr std::size_t max_page = 100;
constexpr std::size_t default_page = 50;

std::size_t parse_limit(const std::string& text) {
    std::size_t limit = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, limit);
    if (error != std::errc() || stop != end || limit < 1 || limit > max_page) {
        refuse_parameter("limit", "must be an integer from 1 to " + std::to_string(max_page));
    }
    return limit;
}

std::string parse_cursor(const std::string& text) {
    const auto after = base::parse_hex(text);
    if (!after || after->empty()) refuse_cursor();
    return std::string(base::as_text(*after));
}

// Metadata is stored in clear. It is read anew, so that nobody with a hand in the database can
// write other fields into an answer.
base::JsonValue stored_metadata(const CredentialInfo& info) {
    try {
        auto value = base::parse_json(info.metadata, {.bytes = max_metadata_bytes});
        if (value.object() != nullptr) return value;
    } catch (const Error& error) {
        throw base::decryption_failed("stored metadata: " + error.message());
    }
    throw base::decryption_failed("stored metadata is no object");
}

}  // namespace

std::string safe_parameter(const server::Request& request, std::string_view name) {
    const std::string& value = request.path_parameter(name);
    if (!is_safe_name(value)) {
        throw Error(ErrorCode::invalid_argument,
                    "\"" + std::string(name) + "\" in the path must have 1 to " +
                        std::to_string(max_name_bytes) +
                        " letters, digits and characters of ._-:@+=,~ and not be dots alone");
    }
    return value;
}

void refuse_parameter(std::string_view name, std::string_view complaint) {
    throw Error(ErrorCode::invalid_argument,
                "\"" + std::string(name) + "\" in the query " + std::string(complaint));
}

void refuse_cursor() { refuse_parameter("cursor", "is not one that this service gave"); }

PageRequest read_page(const server::Request& request,
                      std::initializer_list<std::string_view> known) {
    PageRequest page{.limit = default_page, .after = {}, .more = {}};
    for (const auto& [name, value] : request.query_parameters()) {
        if (name == "limit") {
            page.limit = parse_limit(value);
        } else if (name == "cursor") {
            page.after = parse_cursor(value);
        } else if (std::find(known.begin(), known.end(), name) != known.end()) {
            page.more[name] = value;
        } else {
            refuse_parameter(name, "is not a known parameter");
        }
    }
    return page;
}

void write_cursor(JsonWriter& out, std::string_view after) {
    out.field("next_cursor", base::to_hex(base::as_bytes(after)));
}

base::Time read_time(const base::JsonReader& reader, std::string_view name, std::string_view text) {
    const auto time = base::parse_rfc3339(text);
    if (!time) reader.refuse(name, "must be a time like 2030-01-31T12:00:00Z (RFC 3339)");
    return *time;
}

std::optional<std::uint64_t> read_version(base::JsonReader& reader, std::string_view name,
                                          std::int64_t min) {
    const auto version = reader.optional_integer(name, min, max_version);
    if (!version) return std::nullopt;
    return static_cast<std::uint64_t>(*version);
}

void require_sound(const CredentialInfo& info) { static_cast<void>(stored_metadata(info)); }

void write_expiry(JsonWriter& out, const VersionInfo& version) {
    if (version.expires_at) out.field("expires_at", base::to_rfc3339(*version.expires_at));
}

void write_fields(JsonWriter& out, const CredentialInfo& info, const VersionInfo& shown,
                  base::Time now) {
    out.field("owner", info.id.owner).field("name", info.id.name).field("version", shown.version);
    out.field("created_at", base::to_rfc3339(info.created_at));
    out.field("updated_at", base::to_rfc3339(info.updated_at));
    write_expiry(out, shown);
    out.field("expired", is_expired(shown, now));
    out.name("metadata").value(stored_metadata(info));
    if (!info.tags.empty()) out.field("tags", info.tags);
    out.name("versions").begin_array();
    for (const auto& version : info.versions) {
        out.begin_object().field("version", version.version);
        out.field("created_at", base::to_rfc3339(version.created_at));
        write_expiry(out, version);
        out.end_object();
    }
    out.end_array();
    out.field("key_id", shown.key_id.to_string()).field("key_version", shown.key_version);
}

server::Response credential_answer(const CredentialInfo& info, base::Time now, unsigned status) {
    JsonWriter body;
    body.begin_object();
    write_fields(body, info, info.current(), now);
    body.end_object();
    return server::json_answer(std::move(body), status);
}

void note_replaced(server::Operation& operation, const StoreResult& result) {
    if (result.replaced_damaged) operation.set_fact("replaced_damaged", "yes");
    if (result.replaced_unopened) operation.set_fact("replaced_unopened", "yes");
}

void note_copy(server::Operation& operation, const CopyOutcome& copy) {
    if (copy.state == CopyOutcome::State::none) return;
    const bool failed = copy.state == CopyOutcome::State::failed;
    operation.set_fact("write_through", failed ? "failed" : "written");
}

void require_copy(server::Operation& operation, const CopyOutcome& copy, std::string_view message) {
    note_copy(operation, copy);
    if (copy.state != CopyOutcome::State::failed) return;
    throw Error(ErrorCode::unavailable, std::string(message), copy.detail);
}

void note_data_key(server::Operation& operation, bool from_cache) {
    if (from_cache) operation.set_fact("data_key", "cache");
}

void note_version(server::Operation& operation, const VersionInfo& version) {
    operation.set_fact("version", std::to_string(version.version));
    operation.set_fact("key_id", version.key_id.to_string());
    operation.set_fact("key_version", std::to_string(version.key_version));
}

}  // namespace vault
