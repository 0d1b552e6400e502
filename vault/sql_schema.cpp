#include "vault/sql_schema.h"

#include <array>

#include "server/database.h"

namespace vault {
namespace {

constexpr std::array migrations{
    server::Migration{1, R"sql(
CREATE TABLE credentials (
    id              INTEGER PRIMARY KEY,
    owner           TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    current_version INTEGER NOT NULL,   -- 0: destroyed
    last_version    INTEGER NOT NULL,   -- never goes back
    metadata        TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,   -- times in milliseconds since 1970
    updated_at      INTEGER NOT NULL,
    UNIQUE (owner, name)
);
CREATE TABLE versions (
    credential  INTEGER NOT NULL REFERENCES credentials (id),
    version     INTEGER NOT NULL,
    sealed      TEXT    NOT NULL,       -- vault/sealed.h; empty when erased
    key_id      TEXT    NOT NULL,
    key_version INTEGER NOT NULL,
    expires_at  INTEGER,
    created_at  INTEGER NOT NULL,
    erased_at   INTEGER,
    PRIMARY KEY (credential, version)
);
CREATE TABLE destructions (
    id           INTEGER PRIMARY KEY,
    owner        TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    versions     INTEGER NOT NULL,
    destroyed_by TEXT    NOT NULL,
    destroyed_at INTEGER NOT NULL
);
CREATE INDEX destructions_of ON destructions (owner, name);
)sql",
                      // Names sort by bytes.
                      R"sql(
CREATE TABLE credentials (
    id              BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner           TEXT   COLLATE "C" NOT NULL,
    name            TEXT   COLLATE "C" NOT NULL,
    current_version BIGINT NOT NULL,
    last_version    BIGINT NOT NULL,
    metadata        TEXT   NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    UNIQUE (owner, name)
);
CREATE TABLE versions (
    credential  BIGINT NOT NULL REFERENCES credentials (id),
    version     BIGINT NOT NULL,
    sealed      TEXT   NOT NULL,
    key_id      TEXT   NOT NULL,
    key_version BIGINT NOT NULL,
    expires_at  BIGINT,
    created_at  BIGINT NOT NULL,
    erased_at   BIGINT,
    PRIMARY KEY (credential, version)
);
CREATE TABLE destructions (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner        TEXT   COLLATE "C" NOT NULL,
    name         TEXT   COLLATE "C" NOT NULL,
    versions     BIGINT NOT NULL,
    destroyed_by TEXT   NOT NULL,
    destroyed_at BIGINT NOT NULL
);
CREATE INDEX destructions_of ON destructions (owner, name);
)sql"},
    // Which version it was made from; none: from a secret that came.
    server::Migration{2, "ALTER TABLE versions ADD COLUMN restored_from BIGINT"},
    // Of the current version, for lists by expiry.
    server::Migration{3, R"sql(
ALTER TABLE credentials ADD COLUMN expires_at BIGINT;
UPDATE credentials SET expires_at = (SELECT expires_at FROM versions
    WHERE credential = credentials.id AND version = credentials.current_version);
CREATE INDEX credentials_by_expiry ON credentials (expires_at, owner, name)
    WHERE expires_at IS NOT NULL;
CREATE INDEX credentials_by_owner_and_expiry ON credentials (owner, expires_at, name)
    WHERE expires_at IS NOT NULL;
)sql"},
    // vault/destruction.h
    server::Migration{4, R"sql(
CREATE TABLE destruction_records (
    id          INTEGER PRIMARY KEY,
    uuid        TEXT    NOT NULL UNIQUE,
    owner       TEXT    NOT NULL,
    record      TEXT    NOT NULL,
    signature   TEXT    NOT NULL,       -- base64; empty: not signed
    algorithm   TEXT    NOT NULL,
    key_id      TEXT    NOT NULL,
    key_version INTEGER NOT NULL,
    erasure     TEXT    NOT NULL,       -- of a whole owner; else empty
    part        INTEGER NOT NULL,       -- of it, from 1; else 0
    erased_credentials INTEGER NOT NULL,  -- with this part and those before
    erased_versions    INTEGER NOT NULL,
    complete    INTEGER NOT NULL
);
CREATE INDEX destruction_records_of ON destruction_records (owner, id);
ALTER TABLE destructions ADD COLUMN record INTEGER REFERENCES destruction_records (id);
)sql",
                      R"sql(
CREATE TABLE destruction_records (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid        TEXT   NOT NULL UNIQUE,
    owner       TEXT   COLLATE "C" NOT NULL,
    record      TEXT   NOT NULL,
    signature   TEXT   NOT NULL,
    algorithm   TEXT   NOT NULL,
    key_id      TEXT   NOT NULL,
    key_version BIGINT NOT NULL,
    erasure     TEXT   NOT NULL,
    part        BIGINT NOT NULL,
    erased_credentials BIGINT NOT NULL,
    erased_versions    BIGINT NOT NULL,
    complete    BIGINT NOT NULL
);
CREATE INDEX destruction_records_of ON destruction_records (owner, id);
ALTER TABLE destructions ADD COLUMN record BIGINT REFERENCES destruction_records (id);
)sql"},
    // What is wrapped by which master key version; with all columns that a count asks for, so that
    // no row is read. And the oldest version of each that may still be stored.
    server::Migration{5, R"sql(
CREATE INDEX versions_by_key ON versions (key_id, key_version, credential, version, erased_at)
    WHERE erased_at IS NULL;
CREATE TABLE key_floors (
    key_id TEXT   PRIMARY KEY,
    oldest BIGINT NOT NULL
);
)sql"},
    // Expiries that are no numbers, which a column of SQLite takes from a hand in the database and
    // one of PostgreSQL does not.
    server::Migration{6, R"sql(
CREATE INDEX credentials_without_order ON credentials (owner, name)
    WHERE typeof(expires_at) NOT IN ('integer', 'null');
)sql",
                      "COMMENT ON COLUMN credentials.expires_at IS 'milliseconds since 1970'"},
    // What policies select by: a JSON object of texts.
    server::Migration{7, "ALTER TABLE credentials ADD COLUMN tags TEXT NOT NULL DEFAULT '{}'"},
    // Of those since the credential was made, or was last destroyed; 0: not known.
    server::Migration{8, R"sql(
ALTER TABLE credentials ADD COLUMN first_version BIGINT NOT NULL DEFAULT 0;
UPDATE credentials SET first_version = COALESCE((SELECT MIN(version) FROM versions
    WHERE credential = credentials.id AND erased_at IS NULL), 0);
)sql"}};

}  // namespace

std::span<const server::Migration> credential_migrations() { return migrations; }

}  // namespace vault
