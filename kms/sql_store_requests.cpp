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

std::optional<server::IdempotentRequest> SqlStore::find_request(const std::string& id) {
    return orders_.find(id);
}

void SqlStore::begin_request(const server::IdempotentRequest& request) { orders_.begin(request); }

bool SqlStore::take_over_request(const std::string& id, const std::string& from_node,
                                 const std::string& to_node, base::Time at) {
    return orders_.take_over(id, from_node, to_node, at);
}

void SqlStore::finish_request(const std::string& id, unsigned status, const std::string& answer) {
    orders_.finish(id, status, answer);
}

std::size_t SqlStore::forget_requests(base::Time time) {
    const long long before = to_column(time);
    std::size_t forgotten = 0;
    database_.write([&](soci::session& sql) {
        sql << "UPDATE key_versions SET request = '' WHERE request <> '' "
               "AND request IN (SELECT id FROM requests WHERE begun_at < :before)",
            soci::use(before, "before");
        forgotten = server::SqlOrderRows::forget(sql, time);
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
