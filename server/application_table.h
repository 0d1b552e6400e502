// A table in an application's own PostgreSQL database, of which one column is changed row by row:
// in pages by a unique key, several rows in one transaction, each only if it still holds what was
// read, in all columns that were. Not for tables of ours (server/database.h). It knows nothing of
// what is in the column.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/secret_bytes.h"

namespace server {

struct ApplicationColumns {
    std::string table;                // "table", or "schema.table"
    std::string key;                  // unique and not null; rows go in its order
    std::string column;               // what is changed
    std::vector<std::string> more{};  // to be read as well
};

// Values as PostgreSQL writes them as text.
struct ApplicationRow {
    std::string key;
    std::optional<base::WipedString> value;  // of the column; empty: NULL
    // In the order they were asked for. What stands beside a secret may be one.
    std::vector<std::optional<base::WipedString>> more{};
};

struct ApplicationChange {
    std::string_view key;
    std::string_view before;  // what the column must still hold
    std::string_view after;
    // What `more` of the row must still be.
    std::span<const std::optional<base::WipedString>> more{};
};

// One connection, made anew when it broke. Not thread-safe. Values pass through libpq's buffers,
// which it does not wipe; ours, and results of queries, are wiped. Every function throws
// unavailable when the server is away, busy or too slow; no message holds a value.
class ApplicationTable {
public:
    // `connection` is libpq's: keywords and values, or a URI (PostgreSQL, 34.1.1), which may name a
    // service or a password file. Throws invalid_argument when it is none, and failed_precondition
    // for a table, key or column that is missing or can't be used: the column must be text, varchar
    // without a length, json or jsonb.
    ApplicationTable(const base::SecretBytes& connection, ApplicationColumns columns);
    ~ApplicationTable();
    ApplicationTable(const ApplicationTable&) = delete;
    ApplicationTable& operator=(const ApplicationTable&) = delete;

    bool is_json() const { return is_json_; }  // the column's type
    // Whether the type of that column, one of those it was opened with, is written as JSON: numbers
    // (but for NaN and infinities), truth values, json and jsonb.
    bool has_json_form(const std::string& column) const { return json_forms_.contains(column); }
    // The server and the database, for people: names no user and no password.
    std::string place() const;

    static constexpr std::uint64_t max_counted_rows = 200'000;

    struct Counts {
        std::uint64_t rows = 0;
        std::uint64_t empty = 0;  // where the column is NULL
    };
    // Reads the whole table, for up to an hour.
    Counts count();
    // How many rows have something in the column, as the server's statistics say, which may be far
    // off. Of a table that was never analysed, counted if they are fewer than max_counted_rows; 0
    // when nobody can say. Takes a few seconds at most.
    std::uint64_t estimate();

    // Up to `limit` rows behind `after`, in the order of the key; all of them when it is empty from
    // the first. Rows where the column is NULL are left out.
    std::vector<ApplicationRow> page(const std::optional<std::string>& after, std::size_t limit);
    // The rows of these keys that are there, in no order. A key that the key's type does not take
    // throws invalid_argument.
    std::vector<ApplicationRow> find(std::span<const std::string> keys);

    // All in one transaction; whether each was done. Not done: the row is gone or is another by
    // now, in the column or in `more`. When unavailable was thrown it may have been done; asking
    // again does no harm, and does not tell. Throws failed_precondition, nothing done, when the
    // table refuses a value.
    std::vector<bool> replace(std::span<const ApplicationChange> changes);

private:
    struct Connection;
    void read_types();
    std::string select() const;
    std::uint64_t count_few();

    const ApplicationColumns columns_;
    std::unique_ptr<Connection> connection_;
    std::string table_;  // quoted, as are names in statements
    std::string key_type_, column_type_;
    bool is_json_ = false;
    std::set<std::string> json_forms_;
};

}  // namespace server
