#include "server/postgresql_connections.h"

#include <soci/postgresql/soci-postgresql.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds first_pause{100};
constexpr milliseconds longest_pause{1000};

std::string without_line_ends(std::string text) {
    while (!text.empty() && text.back() == '\n') text.pop_back();
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text;
}

PGconn* raw(Session& session) {
    // Always PostgreSQL's: the constructor below says so. SOCI keeps the type information to
    // itself, so no dynamic_cast.
    return static_cast<soci::postgresql_session_backend*>(session.get_backend())->conn_;
}

// One "name='value'" of a connection string (PostgreSQL, 34.1.1).
std::string setting(std::string_view name, std::string_view value) {
    std::string text = " " + std::string(name) + "='";
    for (const char c : value) {
        if (c == '\'' || c == '\\') text += '\\';
        text += c;
    }
    return text + "'";
}

// Everything that libpq would else take from its environment variables is said here.
std::string connect_string(const PostgresqlConfig& config) {
    const std::string deadline = std::to_string(config.deadline.count());
    // What a stopped client of ours holds is free again after a while.
    const std::string idle = std::to_string(2 * config.deadline.count());
    std::string text = setting("host", config.host);
    text += setting("hostaddr", "");
    text += setting("port", std::to_string(config.port));
    text += setting("dbname", config.database);
    text += setting("user", config.user);
    text += setting("password", "");
    text += setting("application_name", "strongroom/" + config.schema);
    text += setting("client_encoding", "UTF8");
    text += setting("connect_timeout", "2");  // seconds, the least that libpq takes
    text += setting("target_session_attrs", "read-write");
    text += setting("gssencmode", "disable");
    text += setting("keepalives_idle", "5");
    text += setting("keepalives_interval", "2");
    text += setting("keepalives_count", "3");
    text += setting("tcp_user_timeout", deadline);
    text +=
        setting("options", "-c search_path=" + config.schema + " -c statement_timeout=" + deadline +
                               " -c lock_timeout=" + deadline +
                               " -c idle_in_transaction_session_timeout=" + idle);
    if (config.ca.empty()) return text + setting("sslmode", "disable");
    text += setting("sslmode", "verify-full");
    text += setting("ssl_min_protocol_version", "TLSv1.2");
    text += setting("sslrootcert", config.ca.string());
    if (!config.certificate.empty()) {
        text += setting("sslcert", config.certificate.string());
        text += setting("sslkey", config.key.string());
    }
    return text;
}

// The password as libpq's password file (PostgreSQL, 34.16), in memory and there only while a
// connection is made: SOCI keeps the connection string, so the password is not in it. libpq keeps a
// copy with each connection and overwrites it when the connection ends.
class PasswordFile {
public:
    explicit PasswordFile(const base::SecretBytes& password) {
        base::WipedString line = password.empty() ? "" : "*:*:*:*:";
        for (const char c : password.expose_text()) {
            if (c == ':' || c == '\\') line += '\\';
            line += c;
        }
        size_ = line.size();
        descriptor_ = ::memfd_create("password", MFD_CLOEXEC);
        if (descriptor_ < 0 || ::fchmod(descriptor_, 0600) != 0 ||
            ::write(descriptor_, line.data(), size_) != static_cast<ssize_t>(size_)) {
            const std::string why = std::strerror(errno);
            if (descriptor_ >= 0) ::close(descriptor_);
            refuse_unavailable("no memory for the password: " + why);
        }
    }
    ~PasswordFile() {
        const std::string zeros(size_, '\0');
        static_cast<void>(::pwrite(descriptor_, zeros.data(), size_, 0));
        ::close(descriptor_);
    }
    PasswordFile(const PasswordFile&) = delete;
    PasswordFile& operator=(const PasswordFile&) = delete;

    std::string setting_text() const {
        return setting("passfile", "/proc/self/fd/" + std::to_string(descriptor_));
    }

private:
    int descriptor_ = -1;
    std::size_t size_ = 0;
};

}  // namespace

void refuse_unavailable(const std::string& detail) {
    throw Error(ErrorCode::unavailable, "the store is not available", detail);
}

PostgresqlConnection::PostgresqlConnection(const std::string& connect)
    : session(Dialect::postgresql, soci::postgresql, connect) {
    // Detail lines quote values; notices would go to standard error as they are.
    PQsetErrorVerbosity(raw(session), PQERRORS_TERSE);
    PQsetNoticeReceiver(
        raw(session), [](void* /*unused*/, const PGresult* /*unused*/) {}, nullptr);
    socket = ::dup(PQsocket(raw(session)));
    if (socket < 0) refuse_unavailable(std::string("no descriptor: ") + std::strerror(errno));
}

PostgresqlConnection::~PostgresqlConnection() {
    // First, since the ends of statements and session talk to a server that may stand still.
    ::shutdown(socket, SHUT_RDWR);
    session.drop_kept();
    ::close(socket);
}

Executed PostgresqlConnection::execute(const std::string& sql) {
    const std::unique_ptr<PGresult, decltype(&PQclear)> result(PQexec(raw(session), sql.c_str()),
                                                               &PQclear);
    Executed executed;
    const ExecStatusType status = PQresultStatus(result.get());
    executed.is_done = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
    if (executed.is_done) {
        executed.command = PQcmdStatus(result.get());
        if (PQntuples(result.get()) > 0) executed.value = PQgetvalue(result.get(), 0, 0);
        return executed;
    }
    const char* state = result ? PQresultErrorField(result.get(), PG_DIAG_SQLSTATE) : nullptr;
    if (state != nullptr) executed.state = state;
    executed.text = result ? PQresultErrorMessage(result.get()) : PQerrorMessage(raw(session));
    executed.text = without_line_ends(std::move(executed.text));
    return executed;
}

bool PostgresqlConnection::is_alive() { return !is_cut && PQstatus(raw(session)) == CONNECTION_OK; }

bool PostgresqlConnection::is_at_rest() {
    return PQtransactionStatus(raw(session)) == PQTRANS_IDLE;
}

PostgresqlConnections::PostgresqlConnections(PostgresqlConfig config)
    : config_(std::move(config)), watch_([this] { cut_overdue(); }) {}

PostgresqlConnections::~PostgresqlConnections() {
    {
        const std::lock_guard lock(mutex_);
        is_ending_ = true;
    }
    lent_.notify_all();
    watch_.join();
}

PostgresqlConnections::Loan PostgresqlConnections::borrow(DatabaseDeadline deadline) {
    auto one = take(deadline);
    return {*this, std::move(one)};
}

std::unique_ptr<PostgresqlConnection> PostgresqlConnections::take(DatabaseDeadline deadline) {
    std::vector<std::unique_ptr<PostgresqlConnection>> old;  // ended without the lock
    std::unique_lock lock(mutex_);
    for (;;) {
        std::unique_ptr<PostgresqlConnection> one;
        while (!idle_.empty() && !one) {
            std::unique_ptr<PostgresqlConnection> found = std::move(idle_.back());
            idle_.pop_back();
            if (found->generation == generation_) {
                one = std::move(found);
            } else {
                old.push_back(std::move(found));
                --made_;
            }
        }
        if (!one && made_ < config_.connections) one = connect(lock);
        if (one) {
            one->deadline = deadline;
            in_use_.insert(one.get());
            lent_.notify_one();
            return one;
        }
        if (freed_.wait_until(lock, deadline) == std::cv_status::timeout) {
            refuse_unavailable("all connections are in use");
        }
    }
}

std::unique_ptr<PostgresqlConnection> PostgresqlConnections::connect(
    std::unique_lock<std::mutex>& lock) {
    if (failures_ > 0 && (is_trying_ || steady_clock::now() < next_try_)) {
        refuse_unavailable("the server did not let us in a moment ago");
    }
    const bool after_failure = failures_ > 0;
    if (after_failure) is_trying_ = true;
    ++made_;
    const std::uint64_t generation = generation_;
    lock.unlock();
    std::unique_ptr<PostgresqlConnection> one;
    std::string why;
    try {
        const PasswordFile password(config_.password);
        one = std::make_unique<PostgresqlConnection>(connect_string(config_) +
                                                     password.setting_text());
        one->generation = generation;
    } catch (const soci::soci_error& error) {
        why = without_line_ends(error.get_error_message());
    } catch (const Error& error) {
        why = error.detail();
    }
    lock.lock();
    if (after_failure) is_trying_ = false;
    if (one) {
        failures_ = 0;
        return one;
    }
    --made_;
    const auto pause = std::min(first_pause * (1 << std::min(failures_, 4)), longest_pause);
    ++failures_;
    next_try_ = steady_clock::now() + pause;
    freed_.notify_one();
    refuse_unavailable(why);
}

void PostgresqlConnections::give_back(std::unique_ptr<PostgresqlConnection> one) {
    {
        const std::lock_guard lock(mutex_);
        in_use_.erase(one.get());
        const bool is_alive = one->is_alive();
        if (is_alive && one->is_at_rest() && one->generation == generation_) {
            idle_.push_back(std::move(one));
        } else {
            // Whatever broke this one broke those that are as old.
            if (!is_alive && one->generation == generation_) ++generation_;
            --made_;
        }
    }
    freed_.notify_one();
    // What is not kept ends here, without the lock.
}

void PostgresqlConnections::cut_overdue() {
    constexpr milliseconds interval{50};
    std::unique_lock lock(mutex_);
    while (!is_ending_) {
        if (in_use_.empty()) {
            lent_.wait(lock, [this] { return is_ending_ || !in_use_.empty(); });
            continue;
        }
        lent_.wait_for(lock, interval, [this] { return is_ending_; });
        const auto now = steady_clock::now();
        for (PostgresqlConnection* one : in_use_) {
            if (one->is_cut || now < one->deadline) continue;
            one->is_cut = true;
            ::shutdown(one->socket, SHUT_RDWR);
        }
    }
}

}  // namespace server
