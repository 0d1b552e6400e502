// How keys lie in the tables: the columns, and reading them back. For the SQL store's own files
// only.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "kms/key.h"
#include "server/database.h"

namespace kms {

std::span<const server::Migration> key_migrations();

// Which keys to read: all those whose change is after `after`, or the one of `id`.
struct KeySelection {
    long long after = -1;
    std::string id;
};
// Whole keys, in no order. Throws failed_precondition for a row that can't be read.
std::vector<Key> select_keys(soci::session& sql, const KeySelection& selection);

// Throws unavailable unless `holder` has the lock of making keys: he stood still, and another node
// may have gone on with what he was at.
void require_lock(soci::session& sql, const std::string& holder);

// Texts of columns. Reading them back throws failed_precondition naming the key and the column.
std::string tags_to_text(const std::map<std::string, std::string>& tags);
std::map<std::string, std::string> text_to_tags(const std::string& text, const std::string& key_id);
// IV and ciphertext in one base64 text; empty while there is none.
std::string known_answer_to_text(const hsm::Encrypted& known_answer);
hsm::Encrypted text_to_known_answer(const std::string& text, const std::string& key_id);
// Empty for the rule that lets everything pass.
std::string context_rule_to_text(const ContextRule& rule);
ContextRule text_to_context_rule(const std::string& text, const std::string& key_id);

inline long long to_column(std::optional<base::Time> time) {
    return time ? static_cast<long long>(base::to_milliseconds(*time)) : 0;
}

}  // namespace kms
