#include "tests/support/postgresql.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include <soci/postgresql/soci-postgresql.h>

#include "base/json.h"
#include "base/log.h"
#include "base/uuid.h"

namespace tests {
namespace {

void run_script(const std::string& what, const std::filesystem::path& file) {
    std::vector<std::string> words = {"python3", "-B", POSTGRESQL_SCRIPT, what, file.string()};
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_t child = 0;
    int status = 1;
    if (::posix_spawnp(&child, "python3", nullptr, nullptr, arguments.data(), environ) != 0 ||
        ::waitpid(child, &status, 0) != child || status != 0) {
        throw std::runtime_error("can't " + what + " a PostgreSQL server");
    }
}

std::string text_of(const std::filesystem::path& file) {
    std::ostringstream text;
    text << std::ifstream(file).rdbuf();
    return text.str();
}

base::Log& quiet_log() {
    static base::Log log("tests", base::LogLevel::error);
    return log;
}

}  // namespace

PostgresqlServer::PostgresqlServer() {
    std::string found = text_of(POSTGRESQL_FIXTURE);
    if (found.empty()) {
        own_ = std::filesystem::temp_directory_path() /
               ("strongroom-pg-" + base::Uuid::random().to_string());
        run_script("start", own_);
        found = text_of(own_);
    }
    const base::JsonValue value = base::parse_json(found, {});
    base::JsonReader reader(value);
    if (const auto missing = reader.optional_string("missing", 1000)) {
        missing_ = *missing;
        return;
    }
    folder_ = reader.required_string("folder", 1000);
    port_ = static_cast<std::uint16_t>(reader.required_integer("port", 1, 65535));
    ca_ = reader.required_string("ca", 1000);
}

PostgresqlServer::~PostgresqlServer() {
    if (!own_.empty()) run_script("stop", own_);
}

server::PostgresqlConfig PostgresqlServer::config(const std::string& schema) const {
    server::PostgresqlConfig config;
    config.host = folder_.string();
    config.port = port_;
    config.database = "postgres";
    config.user = "postgres";
    config.schema = schema;
    return config;
}

const PostgresqlServer& postgresql_server() {
    static const PostgresqlServer server;
    return server;
}

PostgresqlSchema::PostgresqlSchema() {
    name_ = "t" + base::Uuid::random().to_string();
    std::erase(name_, '-');
}

PostgresqlSchema::~PostgresqlSchema() {
    try {
        sql("DROP SCHEMA IF EXISTS " + name_ + " CASCADE");
    } catch (const soci::soci_error&) {
        // The server's end takes it.
    }
}

std::unique_ptr<server::Database> PostgresqlSchema::open() const {
    return server::open_database(config(), quiet_log());
}

std::string PostgresqlSchema::sql(const std::string& statement) const {
    const auto& server = postgresql_server();
    soci::session session(
        soci::postgresql,
        "host=" + server.folder().string() + " port=" + std::to_string(server.port()) +
            " user=postgres dbname=postgres options='-c client_min_messages=warning'");
    session << "SET search_path = " << name_;
    std::string value;
    soci::indicator indicator = soci::i_null;
    if (statement.starts_with("SELECT")) {
        session << statement, soci::into(value, indicator);
    } else {
        session << statement;
    }
    return value;
}

}  // namespace tests
