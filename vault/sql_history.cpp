// The history of a credential's versions.
#include "server/database.h"
#include "vault/sql_rows.h"
#include "vault/sql_store.h"

namespace vault {
namespace {

struct HistoryRow {
    VersionRow version;
    long long restored_from = 0, erased_at = 0;
    soci::indicator restored = soci::i_null, erased = soci::i_null;
};

VersionRecord to_record(const CredentialId& id, const HistoryRow& row) {
    VersionRecord record{.version = to_version(id, row.version),
                         .restored_from = std::nullopt,
                         .erased_at = std::nullopt};
    if (row.restored == soci::i_ok) record.restored_from = to_number(row.restored_from);
    if (row.erased == soci::i_ok) record.erased_at = base::from_milliseconds(row.erased_at);
    return record;
}

// Every number up to the last has a row for ever: a row that was taken away leaves a gap.
void require_no_gap(const CredentialId& id, const VersionPage& page, std::uint64_t newest) {
    std::uint64_t expected = newest;
    for (const VersionRecord& record : page.versions) {
        if (record.version.version != expected) contradiction(id, "a version is missing");
        --expected;
    }
    if (!page.more && expected != 0) contradiction(id, "a version is missing");
}

}  // namespace

std::optional<VersionPage> SqlStore::history(const CredentialId& id, std::uint64_t before,
                                             std::size_t limit) {
    std::optional<VersionPage> found;
    database_.read([&](soci::session& sql) {
        found.reset();
        const HeadRow head = select_head(sql, id);
        if (head.head.last == 0) return;
        const std::uint64_t newest =
            before == 0 || before > head.head.last ? head.head.last : before - 1;
        VersionPage page{.versions = {}, .current = head.head.current, .more = false};
        HistoryRow row;
        const long long first = to_column(newest);
        const long long rows = to_column(limit + 1);
        soci::statement select =
            (sql.prepare << "SELECT version, key_id, key_version, expires_at, created_at, "
                            "restored_from, erased_at FROM versions "
                            "WHERE credential = :credential AND version <= :newest "
                            "ORDER BY version DESC LIMIT :rows",
             soci::into(row.version.version), soci::into(row.version.key_id),
             soci::into(row.version.key_version),
             soci::into(row.version.expires_at, row.version.expires),
             soci::into(row.version.created_at), soci::into(row.restored_from, row.restored),
             soci::into(row.erased_at, row.erased), soci::use(head.id), soci::use(first),
             soci::use(rows));
        select.execute();
        while (select.fetch()) page.versions.push_back(to_record(id, row));
        page.more = page.versions.size() > limit;
        if (page.more) page.versions.pop_back();
        require_no_gap(id, page, newest);
        found = std::move(page);
    });
    return found;
}

}  // namespace vault
