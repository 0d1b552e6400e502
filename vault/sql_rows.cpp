#include "vault/sql_rows.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"

namespace vault {
namespace {

// What the API takes and can show: years 1970 to 9999, in any zone.
constexpr long long day = 24LL * 60 * 60 * 1000;
constexpr long long earliest = -day;
constexpr long long latest = 253'402'300'800'000 + day;

constexpr std::string_view no_time = "a time that is none";

bool is_time(long long column) { return column >= earliest && column <= latest; }

void require_time(const CredentialId& id, long long column) {
    if (!is_time(column)) contradiction(id, no_time);
}

}  // namespace

void contradiction(const CredentialId& id, std::string_view what) {
    throw base::decryption_failed("the rows of " + id.owner + "/" + id.name +
                                  " contradict each other: " + std::string(what));
}

std::string_view fault_of(const VersionRow& row) {
    if (!base::Uuid::parse(row.key_id) || row.key_version <= 0 || row.key_version > UINT32_MAX)
        return "master key";
    const bool in_time =
        is_time(row.created_at) && (row.expires != soci::i_ok || is_time(row.expires_at));
    return in_time ? std::string_view() : no_time;
}

VersionInfo to_version(const CredentialId& id, const VersionRow& row) {
    if (const auto fault = fault_of(row); !fault.empty()) contradiction(id, fault);
    VersionInfo info{.version = to_number(row.version),
                     .key_id = base::Uuid::parse(row.key_id).value(),
                     .key_version = static_cast<std::uint32_t>(row.key_version),
                     .expires_at = std::nullopt,
                     .created_at = base::from_milliseconds(row.created_at)};
    if (row.expires == soci::i_ok) info.expires_at = base::from_milliseconds(row.expires_at);
    return info;
}

std::optional<std::uint64_t> to_restored_from(const CredentialId& id, const VersionRow& row) {
    if (row.restored != soci::i_ok) return std::nullopt;
    if (row.restored_from <= 0) contradiction(id, "the version it was made from");
    return to_number(row.restored_from);
}

CredentialInfo to_credential(CredentialId id, CredentialRow& row) {
    require_time(id, row.created_at);
    require_time(id, row.updated_at);
    Tags tags = text_to_tags(id, row.tags);
    return {.id = std::move(id),
            .created_at = base::from_milliseconds(row.created_at),
            .updated_at = base::from_milliseconds(row.updated_at),
            .metadata = std::move(row.metadata),
            .versions = {},
            .tags = std::move(tags),
            .first_version = to_number(row.first)};
}

std::string tags_to_text(const Tags& tags) {
    base::JsonWriter out;
    out.begin_object();
    for (const auto& [name, value] : tags) out.field(name, value);
    return std::string(out.end_object().text());
}

Tags text_to_tags(const CredentialId& id, std::string_view text) {
    constexpr std::size_t most =
        max_tags * (max_tag_name_bytes + max_tag_value_bytes + sizeof R"("":"",)") + sizeof "{}";
    if (text == "{}") return {};
    try {
        const base::JsonValue value = base::parse_json(text, {.bytes = most, .depth = 1});
        base::JsonReader reader(value);
        Tags tags;
        for (const auto& [name, one] : reader.members())
            tags[std::string(name)] = reader.required_string(name, max_tag_value_bytes);
        if (are_tags(tags)) return tags;
    } catch (const base::Error&) {
        // What was written by us can be read.
    }
    contradiction(id, "tags");
}

bool is_safe(const CredentialId& id) { return is_safe_name(id.owner) && is_safe_name(id.name); }

CredentialId to_place(const CredentialId& id, long long row) {
    return is_safe(id) ? id : place_of_row(to_number(row));
}

UnsoundCredential to_unsound(CredentialId id, std::string reason) {
    id.owner.resize(std::min(id.owner.size(), max_name_bytes));
    id.name.resize(std::min(id.name.size(), max_name_bytes));
    return {std::move(id), std::move(reason)};
}

void require_row(server::Session& sql, const std::string& owner, std::uint64_t row) {
    const long long id = to_column(row);
    long long found = 0;
    sql << "SELECT COUNT(*) FROM credentials WHERE id = :id AND (owner = :owner OR :all = '')",
        soci::into(found), soci::use(id), soci::use(owner), soci::use(owner);
    if (found == 0)
        throw base::Error(base::ErrorCode::invalid_argument,
                          "the credential at which the page before ended is not there any more");
}

HeadRow select_head(soci::session& sql, const CredentialId& id) {
    HeadRow row;
    long long current = 0;
    long long last = 0;
    long long first = 0;
    sql << "SELECT id, current_version, last_version, first_version FROM credentials "
           "WHERE owner = :owner AND name = :name",
        soci::into(row.id), soci::into(current), soci::into(last), soci::into(first),
        soci::use(id.owner), soci::use(id.name);
    row.head = {.current = to_number(current), .last = to_number(last), .first = to_number(first)};
    return row;
}

long long count_versions(soci::session& sql, long long credential) {
    long long versions = 0;
    sql << "SELECT COUNT(*) FROM versions WHERE credential = :credential AND erased_at IS NULL",
        soci::into(versions), soci::use(credential);
    return versions;
}

}  // namespace vault
