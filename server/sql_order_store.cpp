#include "server/sql_order_store.h"

#include <array>

#include "server/database.h"
#include "server/idempotency.h"

namespace server {
namespace {

// Times are milliseconds since 1970.
constexpr std::array migrations = {Migration{1, R"sql(
CREATE TABLE requests (
  id TEXT PRIMARY KEY,
  digest TEXT NOT NULL,
  node TEXT NOT NULL,
  begun_at BIGINT NOT NULL,
  applied INTEGER NOT NULL,
  status INTEGER NOT NULL,
  answer TEXT NOT NULL
);
CREATE INDEX requests_by_age ON requests(begun_at)
)sql"}};

void insert(soci::session& sql, const IdempotentRequest& request) {
    const long long begun_at = base::to_milliseconds(request.begun_at);
    sql << "INSERT INTO requests (id, digest, node, begun_at, applied, status, answer) "
           "VALUES (:id, :digest, :node, :begun, 0, 0, :answer)",
        soci::use(request.id, "id"), soci::use(request.digest, "digest"),
        soci::use(request.node, "node"), soci::use(begun_at, "begun"),
        soci::use(request.answer, "answer");
}

}  // namespace

std::optional<IdempotentRequest> SqlOrderRows::find(const std::string& id) const {
    std::optional<IdempotentRequest> request;
    database_.read([&](soci::session& sql) {
        request.reset();
        IdempotentRequest found;
        long long begun_at = 0;
        int applied = 0, status = 0;
        sql << "SELECT id, digest, node, begun_at, applied, status, answer FROM requests "
               "WHERE id = :id",
            soci::into(found.id), soci::into(found.digest), soci::into(found.node),
            soci::into(begun_at), soci::into(applied), soci::into(status), soci::into(found.answer),
            soci::use(id, "id");
        if (!sql.got_data()) return;
        found.begun_at = base::from_milliseconds(begun_at);
        found.applied = applied != 0;
        found.status = static_cast<unsigned>(status);
        request = std::move(found);
    });
    return request;
}

void SqlOrderRows::begin(const IdempotentRequest& request) const {
    database_.write([&](soci::session& sql) { insert(sql, request); });
}

bool SqlOrderRows::take_over(const std::string& id, const std::string& from_node,
                             const std::string& to_node, base::Time at) const {
    const long long begun_at = base::to_milliseconds(at);
    bool taken = false;
    database_.write([&](soci::session& sql) {
        soci::statement update = (sql.prepare << "UPDATE requests SET node = :to, begun_at = :at "
                                                 "WHERE id = :id AND node = :from AND status = 0",
                                  soci::use(to_node, "to"), soci::use(begun_at, "at"),
                                  soci::use(id, "id"), soci::use(from_node, "from"));
        update.execute(true);
        taken = update.get_affected_rows() == 1;
    });
    return taken;
}

void SqlOrderRows::finish(const std::string& id, unsigned status, const std::string& answer) const {
    const int number = static_cast<int>(status);
    database_.write([&](soci::session& sql) {
        sql << "UPDATE requests SET node = '', status = :status, answer = :answer WHERE id = :id",
            soci::use(number, "status"), soci::use(answer, "answer"), soci::use(id, "id");
    });
}

std::size_t SqlOrderRows::forget(soci::session& sql, base::Time time) {
    const long long before = base::to_milliseconds(time);
    soci::statement remove = (sql.prepare << "DELETE FROM requests WHERE begun_at < :before",
                              soci::use(before, "before"));
    remove.execute(true);
    return static_cast<std::size_t>(remove.get_affected_rows());
}

void SqlOrderRows::free_all(soci::session& sql) { sql << "UPDATE requests SET node = ''"; }

SqlOrderStore::SqlOrderStore(Database& database) : database_(database), rows_(database) {
    database_.migrate("orders", migrations);
    if (database_.is_shared()) return;
    database_.write([](soci::session& sql) { SqlOrderRows::free_all(sql); });
}

std::optional<IdempotentRequest> SqlOrderStore::find_request(const std::string& id) {
    return rows_.find(id);
}

void SqlOrderStore::begin_request(const IdempotentRequest& request) {
    database_.write([&](soci::session& sql) {
        SqlOrderRows::forget(sql, request.begun_at - idempotency_memory);
        insert(sql, request);
    });
}

bool SqlOrderStore::take_over_request(const std::string& id, const std::string& from_node,
                                      const std::string& to_node, base::Time at) {
    return rows_.take_over(id, from_node, to_node, at);
}

void SqlOrderStore::finish_request(const std::string& id, unsigned status,
                                   const std::string& answer) {
    rows_.finish(id, status, answer);
}

std::size_t SqlOrderStore::forget_requests(base::Time time) {
    std::size_t forgotten = 0;
    database_.write([&](soci::session& sql) { forgotten = SqlOrderRows::forget(sql, time); });
    return forgotten;
}

}  // namespace server
