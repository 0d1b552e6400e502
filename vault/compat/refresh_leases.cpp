#include "vault/compat/refresh_leases.h"

#include <array>
#include <optional>

#include "server/database.h"

namespace vault::compat {
namespace {

using soci::into;
using soci::use;

// Times are milliseconds since 1970.
constexpr std::array lease_migrations = {server::Migration{1, R"sql(
CREATE TABLE token_refreshes (
  owner TEXT NOT NULL,
  name TEXT NOT NULL,
  version BIGINT NOT NULL,
  holder TEXT NOT NULL,
  state TEXT NOT NULL,
  until BIGINT NOT NULL,
  PRIMARY KEY (owner, name)
)
)sql"}};

constexpr std::string_view running = "running";
constexpr std::string_view failed = "failed";
constexpr std::string_view refused_state = "refused";

struct LeaseRow {
    long long version = 0;
    long long until = 0;
    std::string holder;
    std::string state;
};

std::optional<LeaseRow> find_lease(soci::session& sql, const CredentialId& id) {
    LeaseRow row;
    sql << "SELECT version, holder, state, until FROM token_refreshes WHERE owner = :owner AND "
           "name = :name",
        into(row.version), into(row.holder), into(row.state), into(row.until),
        use(id.owner, "owner"), use(id.name, "name");
    return sql.got_data() ? std::optional(std::move(row)) : std::nullopt;
}

void write_lease(soci::session& sql, const CredentialId& id, const LeaseRow& row) {
    sql << "INSERT INTO token_refreshes (owner, name, version, holder, state, until) "
           "VALUES (:owner, :name, :version, :holder, :state, :until) "
           "ON CONFLICT (owner, name) DO UPDATE SET version = excluded.version, "
           "holder = excluded.holder, state = excluded.state, until = excluded.until",
        use(id.owner, "owner"), use(id.name, "name"), use(row.version, "version"),
        use(row.holder, "holder"), use(row.state, "state"), use(row.until, "until");
}

RefreshLeases::Taken verdict(const std::optional<LeaseRow>& row, long long version,
                             const std::string& holder, long long now) {
    using Taken = RefreshLeases::Taken;
    if (!row || row->until <= now) return Taken::yes;
    if (row->state == running) return row->holder == holder ? Taken::yes : Taken::held;
    if (row->version != version) return Taken::yes;  // another token than the one that failed
    return row->state == refused_state ? Taken::after_refusal : Taken::after_failure;
}

}  // namespace

RefreshLeases::RefreshLeases(server::Database& database) : database_(database) {
    database.migrate("token_refresh", lease_migrations);
}

RefreshLeases::Taken RefreshLeases::take(const CredentialId& id, std::uint64_t version,
                                         const std::string& holder, base::Time now,
                                         base::Time until) {
    Taken taken = Taken::held;
    const auto wanted = static_cast<long long>(version);
    database_.write([&](server::Session& sql) {
        taken = verdict(find_lease(sql, id), wanted, holder, base::to_milliseconds(now));
        if (taken != Taken::yes) return;
        write_lease(sql, id,
                    {.version = wanted,
                     .until = base::to_milliseconds(until),
                     .holder = holder,
                     .state = std::string(running)});
    });
    return taken;
}

bool RefreshLeases::is_held(const CredentialId& id, base::Time now) {
    bool held = false;
    database_.read([&](server::Session& sql) {
        const auto row = find_lease(sql, id);
        held = row && row->state == running && row->until > base::to_milliseconds(now);
    });
    return held;
}

void RefreshLeases::release(const CredentialId& id, const std::string& holder) {
    const std::string state(running);  // read when the statement is executed
    database_.write([&](server::Session& sql) {
        sql << "DELETE FROM token_refreshes WHERE owner = :owner AND name = :name AND "
               "holder = :holder AND state = :state",
            use(id.owner, "owner"), use(id.name, "name"), use(holder, "holder"),
            use(state, "state");
    });
}

void RefreshLeases::pause(const CredentialId& id, const std::string& holder, bool refused,
                          base::Time until) {
    database_.write([&](server::Session& sql) {
        auto row = find_lease(sql, id);
        if (!row || row->holder != holder) return;
        row->state = refused ? refused_state : failed;
        row->until = base::to_milliseconds(until);
        write_lease(sql, id, *row);
    });
}

}  // namespace vault::compat
