#include "vault/sql_store.h"

#include "base/error.h"
#include "server/database.h"
#include "vault/sql_rows.h"
#include "vault/sql_schema.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;

}  // namespace

// The statements of the reading paths, prepared once for a session. Each reads its bound inputs and
// fills its bound row. Every run is fetched to its end, so that no statement stays open.
struct SqlStore::Queries {
    // Of rows of older versions that can't be read. Who opens or stores needs only those that the
    // caller asks for.
    enum class Faulty { refused, left_out };

    explicit Queries(soci::session& sql)
        : select_credential(
              (sql.prepare
                   << "SELECT id, current_version, last_version, metadata, created_at, updated_at, "
                      "expires_at, tags, first_version FROM credentials "
                      "WHERE owner = :owner AND name = :name",
               soci::into(credential.id), soci::into(credential.current),
               soci::into(credential.last), soci::into(credential.metadata),
               soci::into(credential.created_at), soci::into(credential.updated_at),
               soci::into(credential.expires_at, credential.expires), soci::into(credential.tags),
               soci::into(credential.first), soci::use(owner), soci::use(name))),
          select_versions(
              (sql.prepare << "SELECT version, key_id, key_version, expires_at, created_at "
                              "FROM versions WHERE credential = :credential AND erased_at IS NULL "
                              "ORDER BY version DESC LIMIT :limit",
               soci::into(version.version), soci::into(version.key_id),
               soci::into(version.key_version), soci::into(version.expires_at, version.expires),
               soci::into(version.created_at), soci::use(credential_id), soci::use(limit))),
          select_sealed(
              (sql.prepare << "SELECT version, key_id, key_version, expires_at, created_at, "
                              "restored_from, sealed FROM versions "
                              "WHERE credential = :credential AND version = :version "
                              "AND erased_at IS NULL",
               soci::into(version.version), soci::into(version.key_id),
               soci::into(version.key_version), soci::into(version.expires_at, version.expires),
               soci::into(version.created_at), soci::into(version.restored_from, version.restored),
               soci::into(version.sealed), soci::use(credential_id), soci::use(wanted))),
          select_page(page_after(sql, ":name", name)),
          select_page_after_row(
              page_after(sql, "(SELECT name FROM credentials WHERE id = :row)", row)) {}

    // A page whose names come after `place`, in which `bound` is bound.
    template <typename Bound>
    soci::statement page_after(soci::session& sql, const std::string& place, Bound& bound) {
        return (sql.prepare << "SELECT id, current_version, last_version, metadata, "
                               "created_at, updated_at, expires_at, name, tags, first_version "
                               "FROM credentials WHERE owner = :owner AND name > " +
                                   place + " AND current_version > 0 ORDER BY name LIMIT :limit",
                soci::into(credential.id), soci::into(credential.current),
                soci::into(credential.last), soci::into(credential.metadata),
                soci::into(credential.created_at), soci::into(credential.updated_at),
                soci::into(credential.expires_at, credential.expires), soci::into(credential.name),
                soci::into(credential.tags), soci::into(credential.first), soci::use(owner),
                soci::use(bound), soci::use(limit));
    }

    // Fills `credential`; false when there is no row.
    bool load_credential(const CredentialId& id) {
        owner = id.owner;
        name = id.name;
        return run_once(select_credential);
    }

    // Fills `credential` and returns what it says; empty when there is none or it was destroyed.
    std::optional<CredentialInfo> load_info(const CredentialId& id, Faulty older) {
        if (!load_credential(id) || credential.current == 0) return std::nullopt;
        CredentialInfo info = to_credential(id, credential);
        load_versions(info, older);
        return info;
    }

    // The current version is the newest row and the highest number ever given: a pointer that was
    // set back, or a row that was taken away, shows.
    void load_versions(CredentialInfo& info, Faulty older) {
        credential_id = credential.id;
        limit = max_versions_shown;
        select_versions.execute();
        while (select_versions.fetch()) {
            const bool is_older = version.version < credential.current;
            if (older == Faulty::left_out && is_older && !fault_of(version).empty()) continue;
            info.versions.push_back(to_version(info.id, version));
        }
        if (credential.current != credential.last)
            contradiction(info.id, "current and last version");
        if (info.versions.empty() || info.current().version != to_number(credential.current)) {
            contradiction(info.id, "newest version");
        }
        std::optional<base::Time> expires_at;
        if (credential.expires == soci::i_ok)
            expires_at = base::from_milliseconds(credential.expires_at);
        if (info.current().expires_at != expires_at) contradiction(info.id, "expiry");
    }

    static bool run_once(soci::statement& statement) {
        if (!statement.execute(true)) return false;
        while (statement.fetch()) continue;
        return true;
    }

    std::string owner, name;
    long long credential_id = 0, wanted = 0, limit = 0, row = 0;
    CredentialRow credential;
    VersionRow version;
    soci::statement select_credential, select_versions, select_sealed, select_page,
        select_page_after_row;
};

// With an exclusive lock SQLite keeps its rollback journal, old pages included, for the next
// transaction. Erased is erased: the journal is cut to nothing after each one.
SqlStore::SqlStore(server::Database& database) : database_(database) {
    database_.migrate("credentials", credential_migrations(),
                      server::Database::Unnamed::this_rooms);
    if (database_.dialect() != server::Dialect::sqlite) return;
    database_.read([](soci::session& sql) {
        long long limit = -1;
        sql << "PRAGMA journal_size_limit = 0", soci::into(limit);
    });
}

void SqlStore::read(const std::function<void(Queries&)>& work) {
    database_.read([&](server::Session& session) { work(session.kept<Queries>()); });
}

Head SqlStore::head(const CredentialId& id) {
    Head head;
    read([&](Queries& queries) {
        if (!queries.load_credential(id)) return;
        head = {.current = to_number(queries.credential.current),
                .last = to_number(queries.credential.last),
                .first = to_number(queries.credential.first)};
    });
    return head;
}

namespace {

// Whether it was said of the version's master key version that nothing needs it any more.
bool is_retired(soci::session& sql, const VersionInfo& version) {
    const std::string key_id = version.key_id.to_string();
    long long oldest = 0;
    sql << "SELECT oldest FROM key_floors WHERE key_id = :key", soci::into(oldest),
        soci::use(key_id);
    return version.key_version < oldest;
}

// A time that may be absent, as a column takes it.
struct TimeColumn {
    explicit TimeColumn(const std::optional<base::Time>& time)
        : value(time ? to_column(*time) : 0), indicator(time ? soci::i_ok : soci::i_null) {}
    long long value;
    soci::indicator indicator;
};

// Inserts or renews the credential's row; its id.
long long write_credential(soci::session& sql, const NewVersion& added, const HeadRow& old) {
    const long long version = to_column(added.version.version);
    const long long now = to_column(added.version.created_at);
    const std::string metadata = added.metadata.value_or("{}");
    const std::string tags = tags_to_text(added.tags.value_or(Tags{}));
    TimeColumn expiry(added.version.expires_at);
    if (old.head.last == 0) {
        sql << "INSERT INTO credentials (owner, name, current_version, last_version, metadata, "
               "created_at, updated_at, expires_at, tags, first_version) "
               "VALUES (:owner, :name, :version, :version2, :metadata, :now, :now2, :expiry, "
               ":tags, :version3)",
            soci::use(added.id.owner), soci::use(added.id.name), soci::use(version),
            soci::use(version), soci::use(metadata), soci::use(now), soci::use(now),
            soci::use(expiry.value, expiry.indicator), soci::use(tags), soci::use(version);
        return select_head(sql, added.id).id;
    }
    sql << "UPDATE credentials SET current_version = :version, last_version = :version2, "
           "updated_at = :now, expires_at = :expiry "
           "WHERE id = :id",
        soci::use(version), soci::use(version), soci::use(now),
        soci::use(expiry.value, expiry.indicator), soci::use(old.id);
    if (old.head.current == 0) {
        sql << "UPDATE credentials SET first_version = :version WHERE id = :id", soci::use(version),
            soci::use(old.id);
    }
    const bool begins = old.head.current == 0 || added.begins_anew;
    if (begins) {
        sql << "UPDATE credentials SET created_at = :now WHERE id = :id", soci::use(now),
            soci::use(old.id);
    }
    if (added.metadata || begins) {
        sql << "UPDATE credentials SET metadata = :metadata WHERE id = :id", soci::use(metadata),
            soci::use(old.id);
    }
    if (added.tags || begins) {
        sql << "UPDATE credentials SET tags = :tags WHERE id = :id", soci::use(tags),
            soci::use(old.id);
    }
    return old.id;
}

void insert_version(soci::session& sql, const NewVersion& added, long long credential) {
    const long long version = to_column(added.version.version);
    const std::string key_id = added.version.key_id.to_string();
    const long long key_version = added.version.key_version;
    const long long created_at = to_column(added.version.created_at);
    TimeColumn expiry(added.version.expires_at);
    const long long restored_from = to_column(added.restored_from.value_or(0));
    soci::indicator restored = added.restored_from ? soci::i_ok : soci::i_null;
    sql << "INSERT INTO versions (credential, version, sealed, key_id, key_version, expires_at, "
           "created_at, restored_from) "
           "VALUES (:credential, :version, :sealed, :key_id, :key_version, :expires_at, "
           ":created_at, :restored_from)",
        soci::use(credential), soci::use(version), soci::use(added.sealed), soci::use(key_id),
        soci::use(key_version), soci::use(expiry.value, expiry.indicator), soci::use(created_at),
        soci::use(restored_from, restored);
}

}  // namespace

std::optional<CredentialInfo> SqlStore::put(const NewVersion& added, const Head& expected) {
    if (added.version.version != expected.last + 1 || added.version.version > max_version) {
        throw Error(ErrorCode::internal, "a version must follow the last one");
    }
    std::optional<CredentialInfo> info;
    database_.write([&](server::Session& sql) {
        info.reset();
        const HeadRow old = select_head(sql, added.id);
        if (old.head != expected || is_retired(sql, added.version)) return;
        // Or its tags would not be asked for any more, and what it had would open without them.
        if (old.head.current == 0 && count_versions(sql, old.id) > 0)
            contradiction(added.id, "it is destroyed and has versions that are not");
        insert_version(sql, added, write_credential(sql, added, old));
        info = sql.kept<Queries>().load_info(added.id, Queries::Faulty::left_out);
    });
    return info;
}

Tags SqlStore::tags(const CredentialId& id) {
    std::string text;
    database_.read([&](server::Session& sql) {
        text = "{}";
        sql << "SELECT tags FROM credentials WHERE owner = :owner AND name = :name "
               "AND current_version > 0",
            soci::into(text), soci::use(id.owner), soci::use(id.name);
    });
    return text_to_tags(id, text);
}

std::optional<CredentialInfo> SqlStore::find(const CredentialId& id) {
    std::optional<CredentialInfo> found;
    read([&](Queries& queries) { found = queries.load_info(id, Queries::Faulty::refused); });
    return found;
}

std::optional<StoredVersion> SqlStore::find_version(const CredentialId& id,
                                                    std::optional<std::uint64_t> version) {
    std::optional<StoredVersion> found;
    if (version && *version > max_version) return found;
    read([&](Queries& queries) {
        found.reset();
        auto info = queries.load_info(id, Queries::Faulty::left_out);
        if (!info) return;
        const long long current = queries.credential.current;
        queries.wanted = version ? to_column(*version) : current;
        if (!Queries::run_once(queries.select_sealed)) return;
        found = StoredVersion{.info = *std::move(info),
                              .version = to_version(id, queries.version),
                              .sealed = std::move(queries.version.sealed),
                              .restored_from = to_restored_from(id, queries.version)};
        if (queries.wanted == current) return;
        queries.wanted = current;
        if (!Queries::run_once(queries.select_sealed)) contradiction(id, "current version");
        found->current = CurrentSeal{.sealed = std::move(queries.version.sealed),
                                     .restored_from = to_restored_from(id, queries.version)};
    });
    return found;
}

namespace {

// Adds the credential that `load` gives to the page; as an unsound one if its rows are at fault.
template <typename Load>
void add_to(CredentialPage& page, server::Session& sql, const CredentialId& id, Load load) {
    if (!is_safe(id)) {
        page.unsound.push_back(to_unsound(id, "its owner or name is none"));
        return;
    }
    try {
        page.credentials.push_back(load());
    } catch (const Error& error) {
        if (error.code() != ErrorCode::integrity_failure) throw;
        sql.drop_kept();  // one of them was left amid its rows
        page.unsound.push_back({id, error.detail()});
    }
}

}  // namespace

CredentialPage SqlStore::list(const std::string& owner, const std::string& after,
                              std::size_t limit) {
    CredentialPage page;
    database_.read([&](server::Session& sql) {
        page = {};
        std::vector<CredentialRow> rows;
        {
            const auto row = row_of_place({"", after});
            if (row) require_row(sql, owner, *row);
            auto& queries = sql.kept<Queries>();
            queries.owner = owner;
            queries.name = after;
            queries.row = to_column(row.value_or(0));
            queries.limit = to_column(limit + 1);
            auto& select = row ? queries.select_page_after_row : queries.select_page;
            select.execute();
            while (select.fetch()) rows.push_back(queries.credential);
        }
        page.more = rows.size() > limit;
        if (page.more) rows.pop_back();
        for (auto& row : rows) {
            const CredentialId id{owner, row.name};
            page.last.id = to_place(id, row.id);
            page.last_row = place_of_row(to_number(row.id));
            add_to(page, sql, id, [&] {
                auto& queries = sql.kept<Queries>();
                queries.credential = row;
                CredentialInfo info = to_credential(id, row);
                queries.load_versions(info, Queries::Faulty::refused);
                return info;
            });
        }
    });
    return page;
}

CredentialPage SqlStore::expiring(const ExpiryQuestion& question) {
    CredentialPage page;
    database_.read([&](server::Session& sql) {
        page = {};
        if (!question.after) {
            for (CredentialId& id : select_without_order(sql, question))
                page.unsound.push_back(to_unsound(std::move(id), "its expiry is no time"));
        }
        std::vector<ExpiringRow> rows = select_expiring(sql, question);
        page.more = rows.size() > question.limit;
        if (page.more) rows.pop_back();
        for (const ExpiringRow& row : rows) {
            add_to(page, sql, row.id, [&] {
                auto info = sql.kept<Queries>().load_info(row.id, Queries::Faulty::refused);
                if (!info) contradiction(row.id, "a destroyed credential expires");
                return *std::move(info);
            });
        }
        if (!rows.empty()) {
            page.last = rows.back().place;
            page.last_row = place_of_row(rows.back().row);
        }
    });
    return page;
}

void SqlStore::check() { database_.check(); }

}  // namespace vault
