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
constexpr milliseconds shortest_wait{20};
constexpr int most_abandoned = 2;               // attempts to connect that hang
constexpr milliseconds connect_patience{2000};  // for a work with less time, as libpq's own
// For a connection that may be to a server which stands still.
constexpr milliseconds doubtful_patience{500};

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
        [[maybe_unused]] const ssize_t written = ::pwrite(descriptor_, zeros.data(), size_, 0);
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

// A connection being made by a thread of its own: libpq bounds only the connecting, and SOCI sends
// a statement after it, which a server that stands still does not answer. Who waited for it to no
// avail leaves it to end by itself.
class Attempt {
public:
    // `abandoned` counts those that are left behind and have not ended.
    explicit Attempt(std::shared_ptr<std::atomic<int>> abandoned)
        : abandoned_(std::move(abandoned)) {}

    static std::shared_ptr<Attempt> begin(const PostgresqlConfig& config,
                                          std::shared_ptr<std::atomic<int>> abandoned) {
        auto attempt = std::make_shared<Attempt>(std::move(abandoned));
        auto password = std::make_shared<const PasswordFile>(config.password);
        const std::string connect = connect_string(config) + password->setting_text();
        std::thread([attempt, password, connect] { attempt->run(connect); }).detach();
        return attempt;
    }

    // Null, saying `why`, when it failed or is not done at the deadline.
    std::unique_ptr<PostgresqlConnection> wait(DatabaseDeadline deadline, std::string& why) {
        std::unique_lock lock(mutex_);
        done_.wait_until(lock, deadline, [this] { return is_done_; });
        if (!is_done_) {
            is_abandoned_ = true;
            ++*abandoned_;
        }
        why = is_done_ ? why_ : "the server did not answer in time";
        return std::move(one_);
    }

private:
    void run(const std::string& connect) {
        std::unique_ptr<PostgresqlConnection> one;
        std::string why;
        try {
            one = std::make_unique<PostgresqlConnection>(connect);
        } catch (const soci::soci_error& error) {
            why = without_line_ends(error.get_error_message());
        } catch (const Error& error) {
            why = error.detail();
        } catch (const std::exception& error) {
            why = error.what();
        }
        {
            const std::lock_guard lock(mutex_);
            is_done_ = true;
            why_ = std::move(why);
            if (is_abandoned_) {
                --*abandoned_;
            } else {
                one_ = std::move(one);
            }
        }
        done_.notify_all();
    }

    const std::shared_ptr<std::atomic<int>> abandoned_;
    std::mutex mutex_;
    std::condition_variable done_;
    bool is_done_ = false;
    bool is_abandoned_ = false;
    std::unique_ptr<PostgresqlConnection> one_;
    std::string why_;
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

PostgresqlConnections::One PostgresqlConnections::take_idle(std::vector<One>& old) {
    while (!idle_.empty()) {
        One found = std::move(idle_.back());
        idle_.pop_back();
        if (found->generation == generation_) return found;
        old.push_back(std::move(found));
        --made_;
    }
    return nullptr;
}

PostgresqlConnections::One PostgresqlConnections::take(DatabaseDeadline deadline) {
    std::vector<One> old;  // ended without the lock
    Lock lock(mutex_);
    for (;;) {
        One one = take_idle(old);
        std::string why = "all connections are in use";
        if (!one && made_ < config_.connections) {
            why = "the server did not let us in a moment ago";
            if (may_connect()) one = connect(lock, deadline, why);
        }
        if (one) {
            if (lend(lock, one, deadline)) return one;
            old.push_back(std::move(one));
            continue;
        }
        // One may have come free while the server was asked for one more.
        if (!idle_.empty()) continue;
        // One that is in use comes free; the server may let us in before that.
        const bool is_full = made_ >= config_.connections;
        if (!is_full && in_use_.empty()) refuse_unavailable(why);
        const auto next = std::max(next_try_, steady_clock::now() + shortest_wait);
        freed_.wait_until(lock, is_full ? deadline : std::min(deadline, next));
        if (steady_clock::now() >= deadline) refuse_unavailable(why);
    }
}

bool PostgresqlConnections::lend(Lock& lock, One& one, DatabaseDeadline deadline) {
    const bool is_doubtful = one->answered <= last_overdue_;
    one->deadline =
        is_doubtful ? std::min(deadline, steady_clock::now() + doubtful_patience) : deadline;
    in_use_.insert(one.get());
    lent_.notify_one();
    if (!is_doubtful) return true;
    lock.unlock();
    const bool answers = one->execute("SELECT 1").is_done && one->is_alive();
    lock.lock();
    if (answers && !one->is_cut) {
        one->deadline = deadline;
        one->answered = steady_clock::now();
        return true;
    }
    in_use_.erase(one.get());
    // It was not the work, then.
    if (one->generation == generation_) ++generation_;
    --made_;
    return false;
}

bool PostgresqlConnections::may_connect() const {
    if (*abandoned_ >= most_abandoned) return false;
    return failures_ == 0 || (!is_trying_ && steady_clock::now() >= next_try_);
}

PostgresqlConnections::One PostgresqlConnections::connect(Lock& lock, DatabaseDeadline deadline,
                                                          std::string& why) {
    const bool after_failure = failures_ > 0;
    if (after_failure) is_trying_ = true;
    ++made_;
    const std::uint64_t generation = generation_;
    lock.unlock();
    One one;
    try {
        const auto now = steady_clock::now();
        const auto bound = std::min(deadline, now + config_.deadline);
        one =
            Attempt::begin(config_, abandoned_)->wait(std::max(bound, now + connect_patience), why);
    } catch (const Error& error) {
        why = error.detail();
    } catch (const std::exception& error) {  // no thread
        why = error.what();
    }
    lock.lock();
    if (after_failure) is_trying_ = false;
    if (one) {
        failures_ = 0;
        one->generation = generation;
        one->answered = steady_clock::now();
        return one;
    }
    --made_;
    const auto pause = std::min(first_pause * (1 << std::min(failures_, 4)), longest_pause);
    ++failures_;
    next_try_ = steady_clock::now() + pause;
    freed_.notify_one();
    return nullptr;
}

void PostgresqlConnections::give_back(One one) {
    {
        const std::lock_guard lock(mutex_);
        in_use_.erase(one.get());
        const bool is_alive = one->is_alive();
        if (is_alive && one->is_at_rest() && one->generation == generation_) {
            one->answered = steady_clock::now();
            idle_.push_back(std::move(one));
        } else {
            // What broke this one broke those that are as old. Of an overdue work that is not said.
            const bool is_broken = !is_alive && !one->is_cut;
            if (is_broken && one->generation == generation_) ++generation_;
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
            last_overdue_ = now;
            ::shutdown(one->socket, SHUT_RDWR);
        }
    }
}

}  // namespace server
