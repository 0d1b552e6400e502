#include "server/application_table.h"

#include <libpq-fe.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/error.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;

// Long enough for a page of a wide table, short enough that nothing of the application's waits.
constexpr const char* session_settings =
    "SET client_encoding = 'UTF8'; SET datestyle = 'ISO'; SET statement_timeout = '30s'; SET "
    "lock_timeout = '5s'; "
    "SET idle_in_transaction_session_timeout = '60s'; SET standard_conforming_strings = on; "
    "SET application_name = 'strongroom-import'";

// Whose text is JSON, but for "NaN", "Infinity" and "-Infinity".
constexpr std::array<std::string_view, 8> json_types = {
    "smallint", "integer", "bigint", "real", "double precision", "boolean", "json", "jsonb"};

bool is_json_type(std::string_view type) {
    return std::find(json_types.begin(), json_types.end(), type) != json_types.end() ||
           type == "numeric" || type.starts_with("numeric(");
}

using Parameters = std::vector<const char*>;

// Rows and columns of a query; values are wiped at the end.
class QueryResult {
public:
    explicit QueryResult(PGresult* result) : result_(result) {}
    ~QueryResult() {
        for (int row = 0; row < rows(); ++row) {
            for (int column = 0; column < PQnfields(result_); ++column) {
                base::wipe(PQgetvalue(result_, row, column),
                           static_cast<std::size_t>(PQgetlength(result_, row, column)));
            }
        }
        PQclear(result_);
    }
    QueryResult(const QueryResult&) = delete;
    QueryResult& operator=(const QueryResult&) = delete;

    PGresult* get() const { return result_; }
    int rows() const { return PQntuples(result_); }
    std::string_view text(int row, int column) const {
        return {PQgetvalue(result_, row, column),
                static_cast<std::size_t>(PQgetlength(result_, row, column))};
    }
    bool is_null(int row, int column) const { return PQgetisnull(result_, row, column) != 0; }

private:
    PGresult* result_;
};

[[noreturn]] void refuse_table(const std::string& why) {
    throw Error(ErrorCode::failed_precondition, why);
}

// Without the line ends, and without the text where the server may quote a value in it.
std::string table_error_text(const std::string& state, std::string text) {
    if (state.starts_with("22")) return "PostgreSQL " + state;
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text + (state.empty() ? "" : "(PostgreSQL " + state + ")");
}

[[noreturn]] void throw_failure(const std::string& state, const std::string& text) {
    const std::string detail = table_error_text(state, text);
    if (state.starts_with("22"))
        throw Error(ErrorCode::invalid_argument, "the table's types do not take this", detail);
    // Missing names and rights; what a constraint, a view or a trigger refuses.
    for (const std::string_view kind : {"42", "23", "44", "P0"}) {
        if (state.starts_with(kind))
            throw Error(ErrorCode::failed_precondition, "the table refuses this", detail);
    }
    throw Error(ErrorCode::unavailable, "the application's database is not available", detail);
}

std::uint64_t to_count(std::string_view text) {
    std::uint64_t number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
}

// {"a","b"} as PostgreSQL reads arrays.
std::string array_text(std::span<const std::string> items) {
    std::string out = "{";
    for (const std::string& item : items) {
        out += out.size() == 1 ? "\"" : ",\"";
        for (const char c : item) {
            if (c == '"' || c == '\\') out += '\\';
            out += c;
        }
        out += '"';
    }
    return out + "}";
}

}  // namespace

struct ApplicationTable::Connection {
    explicit Connection(const base::SecretBytes& text) {
        const base::WipedString terminated(text.expose_text());
        char* why = nullptr;
        PQconninfoOption* options = PQconninfoParse(terminated.c_str(), &why);
        PQfreemem(why);  // it quotes the text
        if (options == nullptr) {
            throw Error(ErrorCode::invalid_argument,
                        "the connection is no text that PostgreSQL's library takes: keywords and "
                        "values, or a URI");
        }
        PQconninfoFree(options);
        raw = PQconnectdb(terminated.c_str());
        if (raw == nullptr || PQstatus(raw) != CONNECTION_OK) {
            const std::string message =
                table_error_text({}, raw == nullptr ? "no memory" : PQerrorMessage(raw));
            PQfinish(raw);
            throw Error(ErrorCode::unavailable, "the application's database can't be reached",
                        message);
        }
        PQsetErrorVerbosity(raw, PQERRORS_TERSE);
        PQsetNoticeReceiver(
            raw, [](void* /*unused*/, const PGresult* /*unused*/) {}, nullptr);
    }
    ~Connection() { PQfinish(raw); }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    // Connects anew when the connection broke.
    void revive() const {
        if (PQstatus(raw) == CONNECTION_OK) return;
        PQreset(raw);
        if (PQstatus(raw) != CONNECTION_OK) throw_failure({}, PQerrorMessage(raw));
        PQsetErrorVerbosity(raw, PQERRORS_TERSE);
        execute(session_settings);
    }
    // Throws as throw_failure().
    void check(const QueryResult& result) const {
        const ExecStatusType status = PQresultStatus(result.get());
        if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) return;
        const char* state = PQresultErrorField(result.get(), PG_DIAG_SQLSTATE);
        throw_failure(state == nullptr ? "" : state, PQerrorMessage(raw));
    }
    void execute(const char* sql) const {
        const QueryResult result(PQexec(raw, sql));
        check(result);
    }
    std::unique_ptr<QueryResult> ask(const std::string& sql, const Parameters& values) const {
        auto result = std::make_unique<QueryResult>(
            PQexecParams(raw, sql.c_str(), static_cast<int>(values.size()), nullptr, values.data(),
                         nullptr, nullptr, 0));
        check(*result);
        return result;
    }
    // `begin` is what opens the transaction; it is rolled back when `work` throws.
    template <typename Work>
    void in_transaction(const char* begin, Work&& work) const {
        execute(begin);
        try {
            work();
            execute("COMMIT");
        } catch (const Error&) {
            const QueryResult ignored(PQexec(raw, "ROLLBACK"));
            throw;
        }
    }
    std::string quoted(std::string_view name) const {
        char* text = PQescapeIdentifier(raw, name.data(), name.size());
        if (text == nullptr) refuse_table("a name of the table is no text");
        std::string out(text);
        PQfreemem(text);
        return out;
    }

    PGconn* raw = nullptr;
};

ApplicationTable::ApplicationTable(const base::SecretBytes& connection, ApplicationColumns columns)
    : columns_(std::move(columns)), connection_(std::make_unique<Connection>(connection)) {
    connection_->execute(session_settings);
    const auto dot = columns_.table.find('.');
    if (dot != std::string::npos) table_ = connection_->quoted(columns_.table.substr(0, dot)) + ".";
    table_ += connection_->quoted(dot == std::string::npos ? columns_.table
                                                           : columns_.table.substr(dot + 1));
    read_types();
}

ApplicationTable::~ApplicationTable() = default;

std::string ApplicationTable::place() const {
    return std::string(PQhost(connection_->raw)) + ":" + PQport(connection_->raw) + "/" +
           PQdb(connection_->raw);
}

void ApplicationTable::read_types() {
    const auto found = connection_->ask(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull AND EXISTS("
        "SELECT 1 FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique AND i.indisvalid "
        "AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum) "
        "FROM pg_attribute a WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 "
        "AND NOT a.attisdropped",
        {table_.c_str()});
    if (found->rows() == 0) refuse_table("there is no table " + columns_.table);
    bool is_unique = false;
    for (int row = 0; row < found->rows(); ++row) {
        if (found->text(row, 0) == columns_.key) {
            key_type_ = found->text(row, 1);
            is_unique = found->text(row, 2) == "t";
        }
        if (found->text(row, 0) == columns_.column) column_type_ = found->text(row, 1);
        if (is_json_type(found->text(row, 1))) json_forms_.emplace(found->text(row, 0));
    }
    if (key_type_.empty()) refuse_table("the table has no column " + columns_.key);
    if (!is_unique)
        refuse_table("the column " + columns_.key + " is not unique and NOT NULL by itself");
    if (column_type_.empty()) refuse_table("the table has no column " + columns_.column);
    for (const std::string& name : columns_.more) {
        bool is_there = false;
        for (int row = 0; row < found->rows(); ++row)
            is_there = is_there || found->text(row, 0) == name;
        if (!is_there) refuse_table("the table has no column " + name);
    }
    is_json_ = column_type_ == "json" || column_type_ == "jsonb";
    if (!is_json_ && column_type_ != "text" && column_type_ != "character varying") {
        refuse_table("the column " + columns_.column + " is " + column_type_ +
                     "; it must be text, varchar without a length, json or jsonb");
    }
}

ApplicationTable::Counts ApplicationTable::count() {
    connection_->revive();
    Counts counts;
    connection_->in_transaction("BEGIN READ ONLY; SET LOCAL statement_timeout = '1h'", [&] {
        const auto found =
            connection_->ask("SELECT count(*), count(*) - count(" +
                                 connection_->quoted(columns_.column) + ") FROM " + table_,
                             {});
        counts = {to_count(found->text(0, 0)), to_count(found->text(0, 1))};
    });
    return counts;
}

std::uint64_t ApplicationTable::estimate() {
    connection_->revive();
    const auto found = connection_->ask(
        "SELECT (c.reltuples * (1 - coalesce(s.null_frac, 0)))::bigint FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_stats s "
        "ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = $2 "
        "WHERE c.oid = to_regclass($1) LIMIT 1",
        {table_.c_str(), columns_.column.c_str()});
    // What was never analysed has -1, or 0 before PostgreSQL 14.
    const std::uint64_t known = found->rows() == 0 ? 0 : to_count(found->text(0, 0));
    return known != 0 ? known : count_few();
}

std::uint64_t ApplicationTable::count_few() {
    const std::string limit = std::to_string(max_counted_rows);
    std::uint64_t counted = 0;
    connection_->in_transaction("BEGIN READ ONLY; SET LOCAL statement_timeout = '3s'", [&] {
        const auto found = connection_->ask("SELECT count(*) FROM (SELECT FROM " + table_ +
                                                " WHERE " + connection_->quoted(columns_.column) +
                                                " IS NOT NULL LIMIT " + limit + ") AS few",
                                            {});
        counted = to_count(found->text(0, 0));
    });
    return counted < max_counted_rows ? counted : 0;
}

std::string ApplicationTable::select() const {
    // Everything by the table's alias: a bare name in ORDER BY would be the text that is given out.
    const auto text = [this](const std::string& name) {
        return "t." + connection_->quoted(name) + "::text";
    };
    std::string sql = "SELECT " + text(columns_.key) + ", " + text(columns_.column);
    for (const std::string& name : columns_.more) sql += ", " + text(name);
    return sql + " FROM " + table_ + " AS t";
}

namespace {

std::vector<ApplicationRow> read_rows(const QueryResult& found, std::size_t more) {
    std::vector<ApplicationRow> rows;
    rows.reserve(static_cast<std::size_t>(found.rows()));
    for (int i = 0; i < found.rows(); ++i) {
        ApplicationRow row;
        row.key = found.text(i, 0);
        if (!found.is_null(i, 1)) row.value = base::WipedString(found.text(i, 1));
        for (int column = 2; column < static_cast<int>(more) + 2; ++column) {
            row.more.emplace_back();
            if (!found.is_null(i, column))
                row.more.back() = base::WipedString(found.text(i, column));
        }
        rows.push_back(std::move(row));
    }
    return rows;
}

}  // namespace

std::vector<ApplicationRow> ApplicationTable::page(const std::optional<std::string>& after,
                                                   std::size_t limit) {
    connection_->revive();
    const std::string key = "t." + connection_->quoted(columns_.key);
    std::string sql =
        select() + " WHERE t." + connection_->quoted(columns_.column) + " IS NOT NULL";
    Parameters values;
    if (after) {
        sql += " AND " + key + " > $1::" + key_type_;
        values.push_back(after->c_str());
    }
    sql += " ORDER BY " + key + " LIMIT " + std::to_string(limit);
    return read_rows(*connection_->ask(sql, values), columns_.more.size());
}

std::vector<ApplicationRow> ApplicationTable::find(std::span<const std::string> keys) {
    connection_->revive();
    const std::string wanted = array_text(keys);
    const auto found = connection_->ask(select() + " WHERE t." + connection_->quoted(columns_.key) +
                                            " IN (SELECT unnest($1::text[])::" + key_type_ + ")",
                                        {wanted.c_str()});
    return read_rows(*found, columns_.more.size());
}

std::vector<bool> ApplicationTable::replace(std::span<const ApplicationChange> changes) {
    const std::string column = connection_->quoted(columns_.column);
    // Under READ COMMITTED a row that somebody else has changed meanwhile is looked at again, as it
    // is then.
    std::string sql = "UPDATE " + table_ + " SET " + column + " = $2::" + column_type_ + " WHERE " +
                      connection_->quoted(columns_.key) + " = $1::" + key_type_ + " AND " + column +
                      "::text = $3";
    for (std::size_t i = 0; i < columns_.more.size(); ++i) {
        sql += " AND " + connection_->quoted(columns_.more[i]) + "::text IS NOT DISTINCT FROM $" +
               std::to_string(i + 4);
    }
    std::vector<bool> done;
    done.reserve(changes.size());
    connection_->revive();
    connection_->in_transaction("BEGIN ISOLATION LEVEL READ COMMITTED", [&] {
        for (const ApplicationChange& change : changes) {
            const std::string key(change.key);
            const base::WipedString after(change.after);
            const base::WipedString before(change.before);
            if (change.more.size() != columns_.more.size())
                throw Error(ErrorCode::internal, "a change of a row does not say what was read");
            Parameters values = {key.c_str(), after.c_str(), before.c_str()};
            for (const auto& text : change.more) values.push_back(text ? text->c_str() : nullptr);
            const auto result = connection_->ask(sql, values);
            done.push_back(to_count(PQcmdTuples(result->get())) == 1);
        }
    });
    return done;
}

}  // namespace server
