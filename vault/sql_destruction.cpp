// Destroying credentials, and the records of it.
#include "base/encoding.h"
#include "server/database.h"
#include "vault/sql_rows.h"
#include "vault/sql_store.h"

namespace vault {
namespace {

// Parts of an owner's erasures follow each other: the last one tells.
std::optional<Erasure> select_begun(soci::session& sql, const std::string& owner) {
    std::string id;
    long long part = 0;
    long long credentials = 0;
    long long versions = 0;
    long long complete = 1;
    sql << "SELECT erasure, part, erased_credentials, erased_versions, complete "
           "FROM destruction_records WHERE owner = :owner AND part > 0 ORDER BY id DESC LIMIT 1",
        soci::into(id), soci::into(part), soci::into(credentials), soci::into(versions),
        soci::into(complete), soci::use(owner);
    if (complete != 0) return std::nullopt;
    const auto uuid = base::Uuid::parse(id);
    if (!uuid) contradiction({owner, "*"}, "an erasure's id");
    return Erasure{.id = *uuid,
                   .part = to_number(part),
                   .credentials = to_number(credentials),
                   .versions = to_number(versions),
                   .complete = false};
}

// Whether everything still is as the destruction says.
bool still_holds(soci::session& sql, const Destruction& wanted) {
    for (const DoomedCredential& one : wanted.credentials) {
        const HeadRow row = select_head(sql, {wanted.owner, one.name});
        if (row.head != one.head || row.head.current == 0) return false;
        if (to_number(count_versions(sql, row.id)) != one.versions) return false;
    }
    if (!wanted.erasure) return true;
    const auto begun = select_begun(sql, wanted.owner);
    if (wanted.erasure->part == 1 ? begun.has_value()
                                  : !begun || begun->id != wanted.erasure->id ||
                                        begun->part + 1 != wanted.erasure->part) {
        return false;
    }
    if (!wanted.erasure->complete) return true;
    long long alive = 0;
    sql << "SELECT COUNT(*) FROM credentials WHERE owner = :owner AND current_version > 0",
        soci::into(alive), soci::use(wanted.owner);
    return to_number(alive) == wanted.credentials.size();
}

long long insert_record(soci::session& sql, const Destruction& wanted,
                        const DestructionRecord& record) {
    const std::string uuid = record.id.to_string();
    const Erasure erasure = wanted.erasure.value_or(Erasure{});
    const std::string erasure_id = wanted.erasure ? erasure.id.to_string() : std::string();
    const DestructionSignature signature = record.signature.value_or(DestructionSignature{});
    const std::string signature_text = base::to_base64(signature.bytes);
    const std::string key_id = record.signature ? signature.key.key_id.to_string() : std::string();
    const long long key_version = signature.key.version;
    const long long part = to_column(erasure.part);
    const long long credentials = to_column(erasure.credentials);
    const long long versions = to_column(erasure.versions);
    const long long complete = erasure.complete ? 1 : 0;
    sql << "INSERT INTO destruction_records (uuid, owner, record, signature, algorithm, key_id, "
           "key_version, erasure, part, erased_credentials, erased_versions, complete) VALUES "
           "(:uuid, :owner, :record, :signature, :algorithm, :key_id, :key_version, :erasure, "
           ":part, :credentials, :versions, :complete)",
        soci::use(uuid), soci::use(wanted.owner), soci::use(record.text), soci::use(signature_text),
        soci::use(signature.algorithm), soci::use(key_id), soci::use(key_version),
        soci::use(erasure_id), soci::use(part), soci::use(credentials), soci::use(versions),
        soci::use(complete);
    long long id = 0;
    sql << "SELECT id FROM destruction_records WHERE uuid = :uuid", soci::into(id), soci::use(uuid);
    return id;
}

// Overwritten in place: with secure_delete, SQLite zeroes what the shorter row no longer needs.
void erase(soci::session& sql, const Destruction& wanted, const DoomedCredential& one,
           long long record) {
    const long long at = to_column(wanted.at);
    const long long versions = to_column(one.versions);
    const HeadRow row = select_head(sql, {wanted.owner, one.name});
    sql << "UPDATE versions SET sealed = '', erased_at = :now "
           "WHERE credential = :credential AND erased_at IS NULL",
        soci::use(at), soci::use(row.id);
    sql << "UPDATE credentials SET current_version = 0, metadata = '{}', tags = '{}', "
           "expires_at = NULL, updated_at = :now WHERE id = :id",
        soci::use(at), soci::use(row.id);
    sql << "INSERT INTO destructions (owner, name, versions, destroyed_by, destroyed_at, record) "
           "VALUES (:owner, :name, :versions, :by, :at, :record)",
        soci::use(wanted.owner), soci::use(one.name), soci::use(versions),
        soci::use(wanted.ordered_by), soci::use(at), soci::use(record);
}

struct DestructionRow {
    long long id = 0, key_version = 0;
    std::string uuid, record, signature, algorithm, key_id;
};

DestructionRecord to_record(const std::string& owner, const DestructionRow& row) {
    const auto id = base::Uuid::parse(row.uuid);
    if (!id) contradiction({owner, "*"}, "a destruction's id");
    DestructionRecord record{.id = *id, .text = row.record, .signature = std::nullopt};
    if (row.signature.empty()) return record;
    const auto bytes = base::parse_base64(row.signature);
    const auto key = base::Uuid::parse(row.key_id);
    if (!bytes || !key || row.key_version <= 0 || row.key_version > UINT32_MAX) {
        contradiction({owner, "*"}, "a destruction's signature");
    }
    record.signature = DestructionSignature{
        *bytes, row.algorithm, {*key, static_cast<std::uint32_t>(row.key_version)}};
    return record;
}

}  // namespace

std::optional<DoomedCredential> SqlStore::doomed(const CredentialId& id) {
    std::optional<DoomedCredential> found;
    database_.read([&](soci::session& sql) {
        found.reset();
        const HeadRow row = select_head(sql, id);
        if (row.head.current == 0) return;
        found = DoomedCredential{id.name, row.head, to_number(count_versions(sql, row.id))};
    });
    return found;
}

OwnerPart SqlStore::next_part(const std::string& owner, std::size_t max_credentials,
                              std::uint64_t max_versions) {
    OwnerPart part;
    database_.read([&](soci::session& sql) {
        part = {};
        part.begun = select_begun(sql, owner);
        long long id = 0;
        long long current = 0;
        long long last = 0;
        std::string name;
        std::vector<std::pair<long long, DoomedCredential>> rows;
        const long long limit = to_column(max_credentials + 1);
        soci::statement select =
            (sql.prepare << "SELECT id, name, current_version, last_version FROM credentials "
                            "WHERE owner = :owner AND current_version > 0 "
                            "ORDER BY name LIMIT :limit",
             soci::into(id), soci::into(name), soci::into(current), soci::into(last),
             soci::use(owner), soci::use(limit));
        select.execute();
        while (select.fetch()) {
            rows.emplace_back(id, DoomedCredential{name, {to_number(current), to_number(last)}, 0});
        }
        std::uint64_t versions = 0;
        for (auto& [row, one] : rows) {
            if (part.credentials.size() == max_credentials) return;
            one.versions = to_number(count_versions(sql, row));
            versions += one.versions;
            if (!part.credentials.empty() && versions > max_versions) return;
            part.credentials.push_back(std::move(one));
        }
        part.last = true;
    });
    return part;
}

bool SqlStore::destroy(const Destruction& wanted, const DestructionRecord& record) {
    bool done = false;
    database_.write([&](soci::session& sql) {
        done = still_holds(sql, wanted);
        if (!done) return;
        const long long id = insert_record(sql, wanted, record);
        for (const DoomedCredential& one : wanted.credentials) erase(sql, wanted, one, id);
    });
    return done;
}

DestructionPage SqlStore::destructions(const std::string& owner, const std::string& name,
                                       std::uint64_t after, std::size_t limit) {
    DestructionPage page;
    database_.read([&](soci::session& sql) {
        page = {};
        DestructionRow row;
        const long long place = to_column(after);
        const long long rows = to_column(limit + 1);
        const long long any = name.empty() ? 1 : 0;
        soci::statement select =
            (sql.prepare << "SELECT id, uuid, record, signature, algorithm, key_id, key_version "
                            "FROM destruction_records WHERE owner = :owner AND id > :place AND "
                            "(:any = 1 OR id IN (SELECT record FROM destructions WHERE owner = "
                            ":owner2 AND name = :name)) ORDER BY id LIMIT :rows",
             soci::into(row.id), soci::into(row.uuid), soci::into(row.record),
             soci::into(row.signature), soci::into(row.algorithm), soci::into(row.key_id),
             soci::into(row.key_version), soci::use(owner), soci::use(place), soci::use(any),
             soci::use(owner), soci::use(name), soci::use(rows));
        select.execute();
        while (select.fetch()) {
            if (page.records.size() == limit) {
                page.more = true;
                continue;
            }
            page.records.push_back(to_record(owner, row));
            page.last = to_number(row.id);
        }
    });
    return page;
}

}  // namespace vault
