// Which credentials a list names, by index.
#include <limits>

#include "server/database.h"
#include "vault/sql_rows.h"

namespace vault {
namespace {

std::vector<ExpiryPlace> fetch_all(soci::statement& select, const CredentialId& id,
                                   const long long& expires_at) {
    std::vector<ExpiryPlace> places;
    select.execute();
    while (select.fetch()) places.push_back({base::from_milliseconds(expires_at), id});
    return places;
}

}  // namespace

// A column of SQLite takes values of any type. What is no integer would come back as another value
// than the one that it is sorted by, and a page that ends there could not be gone on from.
std::vector<ExpiryPlace> select_expiring(server::Session& sql, const ExpiryQuestion& question) {
    const std::string is_time =
        sql.dialect() == server::Dialect::sqlite ? "typeof(expires_at) = 'integer' AND " : "";
    const long long before = to_column(question.before);
    const long long at = question.after ? to_column(question.after->expires_at)
                                        : std::numeric_limits<long long>::min();
    const CredentialId after = question.after ? question.after->id : CredentialId{};
    const long long rows = to_column(question.limit + 1);
    CredentialId row;
    long long expires_at = 0;
    if (question.owner.empty()) {
        soci::statement select =
            (sql.prepare << "SELECT owner, name, expires_at FROM credentials WHERE " + is_time +
                                "expires_at < :before AND "
                                "(expires_at, owner, name) > (:at, :owner, :name) "
                                "ORDER BY expires_at, owner, name LIMIT :rows",
             soci::into(row.owner), soci::into(row.name), soci::into(expires_at), soci::use(before),
             soci::use(at), soci::use(after.owner), soci::use(after.name), soci::use(rows));
        return fetch_all(select, row, expires_at);
    }
    soci::statement select =
        (sql.prepare
             << "SELECT owner, name, expires_at FROM credentials WHERE owner = :owner AND " +
                    is_time +
                    "expires_at < :before AND (expires_at, name) > (:at, :name) "
                    "ORDER BY expires_at, name LIMIT :rows",
         soci::into(row.owner), soci::into(row.name), soci::into(expires_at),
         soci::use(question.owner), soci::use(before), soci::use(at), soci::use(after.name),
         soci::use(rows));
    return fetch_all(select, row, expires_at);
}

std::vector<CredentialId> select_without_order(server::Session& sql,
                                               const ExpiryQuestion& question) {
    std::vector<CredentialId> found;
    if (sql.dialect() != server::Dialect::sqlite) return found;  // its columns have types
    CredentialId row;
    const long long rows = to_column(question.limit);
    soci::statement select =
        (sql.prepare << "SELECT owner, name FROM credentials WHERE typeof(expires_at) NOT IN "
                        "('integer', 'null') AND (owner = :owner OR :all = '') "
                        "ORDER BY owner, name LIMIT :rows",
         soci::into(row.owner), soci::into(row.name), soci::use(question.owner),
         soci::use(question.owner), soci::use(rows));
    select.execute();
    while (select.fetch()) found.push_back(row);
    return found;
}

}  // namespace vault
