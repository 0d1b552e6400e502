// The SQL store's idempotent requests and locks.
#include "base/error.h"
#include "kms/sql_store.h"
#include "kms/sql_store_rows.h"
#include "server/database.h"

namespace kms {
namespace {

constexpr std::string_view making_keys = "making_keys";
constexpr int longest_holder = 1000;

// What names the node in "<node>/<which time>", the '/' included; all of it where there is none.
std::string node_of(const std::string& holder) {
    const std::size_t slash = holder.find('/');
    return slash == std::string::npos ? holder : holder.substr(0, slash + 1);
}

}  // namespace

void require_lock(soci::session& sql, const std::string& holder) {
    const std::string name(making_keys);
    int held = 0;
    sql << "SELECT COUNT(*) FROM locks WHERE name = :name AND holder = :holder", soci::into(held),
        soci::use(name, "name"), soci::use(holder, "holder");
    if (held == 1) return;
    throw base::Error(base::ErrorCode::unavailable,
                      "this took so long that another node may have gone on with it: try again",
                      "the lock of making keys was lost");
}

std::optional<VersionName> SqlStore::find_version_of(const std::string& request) {
    std::optional<VersionName> name;
    database_.read([&](soci::session& sql) {
        name.reset();
        std::string key_id;
        int version = 0;
        sql << "SELECT key_id, version FROM key_versions WHERE request = :request "
               "AND request <> '' ORDER BY created_at DESC, version DESC LIMIT 1",
            soci::into(key_id), soci::into(version), soci::use(request, "request");
        const auto id = sql.got_data() ? base::Uuid::parse(key_id) : std::nullopt;
        if (id) name = VersionName{*id, static_cast<std::uint32_t>(version)};
    });
    return name;
}

std::optional<IdempotentRequest> SqlStore::find_request(const std::string& id) {
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

void SqlStore::begin_request(const IdempotentRequest& request) {
    const long long begun_at = to_column(request.begun_at);
    database_.write([&](soci::session& sql) {
        sql << "INSERT INTO requests (id, digest, node, begun_at, applied, status, answer) "
               "VALUES (:id, :digest, :node, :begun, 0, 0, :answer)",
            soci::use(request.id, "id"), soci::use(request.digest, "digest"),
            soci::use(request.node, "node"), soci::use(begun_at, "begun"),
            soci::use(request.answer, "answer");
    });
}

bool SqlStore::take_over_request(const std::string& id, const std::string& from_node,
                                 const std::string& to_node, base::Time at) {
    const long long begun_at = to_column(at);
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

void SqlStore::finish_request(const std::string& id, unsigned status, const std::string& answer) {
    const int number = static_cast<int>(status);
    database_.write([&](soci::session& sql) {
        sql << "UPDATE requests SET node = '', status = :status, answer = :answer WHERE id = :id",
            soci::use(number, "status"), soci::use(answer, "answer"), soci::use(id, "id");
    });
}

std::size_t SqlStore::forget_requests(base::Time time) {
    const long long before = to_column(time);
    std::size_t forgotten = 0;
    database_.write([&](soci::session& sql) {
        sql << "UPDATE key_versions SET request = '' WHERE request <> '' "
               "AND request IN (SELECT id FROM requests WHERE begun_at < :before)",
            soci::use(before, "before");
        soci::statement remove = (sql.prepare << "DELETE FROM requests WHERE begun_at < :before",
                                  soci::use(before, "before"));
        remove.execute(true);
        forgotten = static_cast<std::size_t>(remove.get_affected_rows());
    });
    return forgotten;
}

bool SqlStore::take_lock(const std::string& holder, base::Time now, base::Time until) {
    const long long now_column = to_column(now);
    const long long until_column = to_column(until);
    const std::string name(making_keys);
    const std::string node = node_of(holder);
    const int length =
        node.size() == holder.size() ? longest_holder : static_cast<int>(node.size());
    bool taken = false;
    database_.write([&](soci::session& sql) {
        soci::statement take =
            (sql.prepare << "INSERT INTO locks (name, holder, expires_at) "
                            "VALUES (:name, :holder, :until) "
                            "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, "
                            "expires_at = excluded.expires_at "
                            "WHERE locks.expires_at <= :now "
                            "OR substr(locks.holder, 1, :length) = :node",
             soci::use(name, "name"), soci::use(holder, "holder"), soci::use(until_column, "until"),
             soci::use(now_column, "now"), soci::use(length, "length"), soci::use(node, "node"));
        take.execute(true);
        taken = take.get_affected_rows() == 1;
    });
    return taken;
}

bool SqlStore::keep_lock(const std::string& holder, base::Time until) {
    const long long until_column = to_column(until);
    const std::string name(making_keys);
    bool kept = false;
    database_.write([&](soci::session& sql) {
        soci::statement keep = (sql.prepare << "UPDATE locks SET expires_at = :until "
                                               "WHERE name = :name AND holder = :holder",
                                soci::use(until_column, "until"), soci::use(name, "name"),
                                soci::use(holder, "holder"));
        keep.execute(true);
        kept = keep.get_affected_rows() == 1;
    });
    return kept;
}

void SqlStore::release_lock(const std::string& holder) {
    const std::string name(making_keys);
    database_.write([&](soci::session& sql) {
        sql << "DELETE FROM locks WHERE name = :name AND holder = :holder", soci::use(name, "name"),
            soci::use(holder, "holder");
    });
}

}  // namespace kms
