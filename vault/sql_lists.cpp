// Which credentials a list names, by index.
#include <limits>

#include "server/database.h"
#include "vault/sql_rows.h"

namespace vault {
namespace {

std::vector<CredentialId> fetch_all(soci::statement& select, const CredentialId& row) {
    std::vector<CredentialId> names;
    select.execute();
    while (select.fetch()) names.push_back(row);
    return names;
}

}  // namespace

std::vector<CredentialId> select_expiring(soci::session& sql, const ExpiryQuestion& question) {
    const long long before = to_column(question.before);
    const long long at = question.after ? to_column(question.after->expires_at)
                                        : std::numeric_limits<long long>::min();
    const CredentialId after = question.after ? question.after->id : CredentialId{};
    const long long rows = to_column(question.limit + 1);
    CredentialId row;
    if (question.owner.empty()) {
        soci::statement select =
            (sql.prepare << "SELECT owner, name FROM credentials WHERE expires_at < :before AND "
                            "(expires_at, owner, name) > (:at, :owner, :name) "
                            "ORDER BY expires_at, owner, name LIMIT :rows",
             soci::into(row.owner), soci::into(row.name), soci::use(before), soci::use(at),
             soci::use(after.owner), soci::use(after.name), soci::use(rows));
        return fetch_all(select, row);
    }
    soci::statement select =
        (sql.prepare << "SELECT owner, name FROM credentials WHERE owner = :owner AND expires_at < "
                        ":before AND (expires_at, name) > (:at, :name) "
                        "ORDER BY expires_at, name LIMIT :rows",
         soci::into(row.owner), soci::into(row.name), soci::use(question.owner), soci::use(before),
         soci::use(at), soci::use(after.name), soci::use(rows));
    return fetch_all(select, row);
}

}  // namespace vault
