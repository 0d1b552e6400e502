// Which credentials a list names, by index.
#include <limits>

#include "server/database.h"
#include "vault/sql_rows.h"

namespace vault {
namespace {

// What comes after the place where a page ended. Of a row's number only the names are looked up:
// its expiry may be another by now, or none.
std::string after_place(bool all_owners, bool by_row) {
    const auto value = [by_row](const std::string& column) {
        return by_row ? "(SELECT " + column + " FROM credentials WHERE id = :row_of_" + column + ")"
                      : ":" + column;
    };
    return all_owners
               ? "(expires_at, owner, name) > (:at, " + value("owner") + ", " + value("name") + ")"
               : "(expires_at, name) > (:at, " + value("name") + ")";
}

}  // namespace

// A column of SQLite takes values of any type. What is no integer would come back as another value
// than the one that it is sorted by, and a page that ends there could not be gone on from.
std::vector<ExpiringRow> select_expiring(server::Session& sql, const ExpiryQuestion& question) {
    const std::string is_time =
        sql.dialect() == server::Dialect::sqlite ? "typeof(expires_at) = 'integer' AND " : "";
    std::optional<std::uint64_t> row;
    if (question.after) row = row_of_place(question.after->id);
    const std::uint64_t row_id = row.value_or(0);
    if (row) require_row(sql, question.owner, row_id);
    const bool all_owners = question.owner.empty();
    const std::string order = all_owners ? "expires_at, owner, name" : "expires_at, name";
    const std::string text = "SELECT id, owner, name, expires_at FROM credentials WHERE " +
                             std::string(all_owners ? "" : "owner = :wanted AND ") + is_time +
                             "expires_at < :before AND " +
                             after_place(all_owners, row.has_value()) + " ORDER BY " + order +
                             " LIMIT :rows";
    const long long before = to_column(question.before);
    const long long at = question.after ? to_column(question.after->expires_at)
                                        : std::numeric_limits<long long>::min();
    const CredentialId after = question.after ? question.after->id : CredentialId{};
    const long long after_row = to_column(row_id);
    const long long rows = to_column(question.limit + 1);
    long long id = 0;
    long long expires_at = 0;
    CredentialId found;
    soci::statement select(sql);
    select.exchange(soci::into(id));
    select.exchange(soci::into(found.owner));
    select.exchange(soci::into(found.name));
    select.exchange(soci::into(expires_at));
    if (!all_owners) select.exchange(soci::use(question.owner, "wanted"));
    select.exchange(soci::use(before, "before"));
    select.exchange(soci::use(at, "at"));
    if (row) {
        if (all_owners) select.exchange(soci::use(after_row, "row_of_owner"));
        select.exchange(soci::use(after_row, "row_of_name"));
    } else {
        if (all_owners) select.exchange(soci::use(after.owner, "owner"));
        select.exchange(soci::use(after.name, "name"));
    }
    select.exchange(soci::use(rows, "rows"));
    select.alloc();
    select.prepare(text);
    select.define_and_bind();
    select.execute();
    std::vector<ExpiringRow> places;
    while (select.fetch())
        places.push_back(
            {found, {base::from_milliseconds(expires_at), to_place(found, id)}, to_number(id)});
    return places;
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
