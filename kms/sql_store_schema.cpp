// The tables of the key store. Times are milliseconds since 1970, 0 for none.
#include "kms/sql_store_rows.h"

#include <array>

namespace kms {
namespace {

constexpr std::array migrations = {
    server::Migration{1, R"sql(
CREATE TABLE keys (
  id TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  profile TEXT NOT NULL,
  description TEXT NOT NULL,
  tags TEXT NOT NULL,
  wanted_alias TEXT NOT NULL,
  primary_version INTEGER NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE TABLE key_versions (
  key_id TEXT NOT NULL REFERENCES keys(id),
  version INTEGER NOT NULL,
  state TEXT NOT NULL,
  token_key_id TEXT NOT NULL UNIQUE,
  created_at BIGINT NOT NULL,
  wraps_reserved BIGINT NOT NULL,
  known_answer TEXT NOT NULL,
  PRIMARY KEY (key_id, version)
);
CREATE TABLE aliases (
  name TEXT PRIMARY KEY,
  key_id TEXT NOT NULL REFERENCES keys(id)
)
)sql"},
    // Kinds, rotation, deletion, context rules; what several nodes and idempotent requests need.
    server::Migration{2, R"sql(
ALTER TABLE keys ADD COLUMN kind TEXT NOT NULL DEFAULT 'aes_256';
ALTER TABLE keys ADD COLUMN revision BIGINT NOT NULL DEFAULT 1;
ALTER TABLE keys ADD COLUMN change BIGINT NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN rotation_period_days INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN next_rotation_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN deletion_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN compromised_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN destroyed_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN destruction_begun INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN context_rule TEXT NOT NULL DEFAULT '';
ALTER TABLE key_versions ADD COLUMN wraps_used BIGINT NOT NULL DEFAULT 0;
ALTER TABLE key_versions ADD COLUMN rewrapped_away BIGINT NOT NULL DEFAULT 0;
ALTER TABLE key_versions ADD COLUMN last_used_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE key_versions ADD COLUMN destroyed_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE key_versions ADD COLUMN request TEXT NOT NULL DEFAULT '';
CREATE INDEX versions_by_request ON key_versions(request) WHERE request <> '';
CREATE INDEX keys_by_change ON keys(change);
CREATE INDEX aliases_by_key ON aliases(key_id);
CREATE TABLE change_counter (one INTEGER PRIMARY KEY CHECK (one = 1), value BIGINT NOT NULL);
INSERT INTO change_counter (one, value) VALUES (1, 0);
CREATE TABLE tombstones (
  key_id TEXT PRIMARY KEY REFERENCES keys(id),
  record TEXT NOT NULL
);
CREATE TABLE requests (
  id TEXT PRIMARY KEY,
  digest TEXT NOT NULL,
  node TEXT NOT NULL,
  begun_at BIGINT NOT NULL,
  applied INTEGER NOT NULL,
  status INTEGER NOT NULL,
  answer TEXT NOT NULL
);
CREATE INDEX requests_by_age ON requests(begun_at);
CREATE TABLE locks (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  expires_at BIGINT NOT NULL
)
)sql"},
    server::Migration{3,
                      "ALTER TABLE keys ADD COLUMN deletion_ordered_by TEXT NOT NULL DEFAULT ''"},
    // What stays of versions that were given up while they were made.
    server::Migration{4, R"sql(
CREATE TABLE version_tombstones (
  key_id TEXT NOT NULL REFERENCES keys(id),
  version INTEGER NOT NULL,
  record TEXT NOT NULL,
  PRIMARY KEY (key_id, version)
)
)sql"}};

}  // namespace

std::span<const server::Migration> key_migrations() { return migrations; }

}  // namespace kms
