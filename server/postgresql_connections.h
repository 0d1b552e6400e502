// The connections to a PostgreSQL server: made, lent out, given up. For
// server/postgresql_database.cpp only.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/log.h"
#include "server/database.h"

namespace server {

using DatabaseDeadline = std::chrono::steady_clock::time_point;

// Throws unavailable; `detail` is for the operational log.
[[noreturn]] void refuse_unavailable(const std::string& detail);

// What came of statements that went to the server without SOCI.
struct Executed {
    bool is_done = false;
    std::string state;    // SQLSTATE of the failure (PostgreSQL, appendix A); empty: no answer
    std::string command;  // tag of the last statement that was done: "COMMIT"
    std::string value;    // the last statement's first column and row
    std::string text;     // of the failure, for the operational log; names no value
};

struct PostgresqlConnection {
    explicit PostgresqlConnection(const std::string& connect);
    ~PostgresqlConnection();
    PostgresqlConnection(const PostgresqlConnection&) = delete;
    PostgresqlConnection& operator=(const PostgresqlConnection&) = delete;

    // Statements separated by ';', none with anything bound.
    Executed execute(const std::string& sql);
    // False once the connection broke.
    bool is_alive();
    // Whether no transaction is open.
    bool is_at_rest();

    Session session;
    int socket = -1;  // a duplicate of libpq's, to cut an overdue work off from another thread
    std::uint64_t generation = 0;
    DatabaseDeadline deadline{};
    DatabaseDeadline answered{};  // the last moment when the server is known to have answered
    std::atomic<bool> is_cut{false};
};

// Thread-safe. A connection is made when it is needed and kept. Once one broke, all that are as old
// are made anew before they are used. While the server does not let us in, one caller at a time
// tries, at growing intervals up to a second; the others wait for a connection that is in use, and
// where there is none they are refused at once. A work that is not over at its deadline loses its
// connection: a server that is stopped or out of reach holds no thread for longer. After that,
// those that are not in use are asked something short before a work gets them.
class PostgresqlConnections {
public:
    explicit PostgresqlConnections(PostgresqlConfig config);
    ~PostgresqlConnections();
    PostgresqlConnections(const PostgresqlConnections&) = delete;
    PostgresqlConnections& operator=(const PostgresqlConnections&) = delete;

    // A connection lent out; given back at the end of its life.
    class Loan {
    public:
        Loan(PostgresqlConnections& all, std::unique_ptr<PostgresqlConnection> one)
            : all_(all), one_(std::move(one)) {}
        ~Loan() { all_.give_back(std::move(one_)); }
        Loan(const Loan&) = delete;
        Loan& operator=(const Loan&) = delete;
        PostgresqlConnection* operator->() const { return one_.get(); }
        PostgresqlConnection& operator*() const { return *one_; }

    private:
        PostgresqlConnections& all_;
        std::unique_ptr<PostgresqlConnection> one_;
    };

    // Throws unavailable: none can be made and none is in use, or all are in use until the
    // deadline.
    Loan borrow(DatabaseDeadline deadline);

    const PostgresqlConfig& config() const { return config_; }

private:
    using One = std::unique_ptr<PostgresqlConnection>;
    using Lock = std::unique_lock<std::mutex>;

    One take(DatabaseDeadline deadline);
    // One that is idle and as new as the others; what is older goes to `old`. Null: none.
    One take_idle(std::vector<One>& old);
    // Notes the loan; an old answer is not enough for one that was idle when a work was overdue.
    // False, the connection being given up, when it does not answer.
    bool lend(Lock& lock, One& one, DatabaseDeadline deadline);
    bool may_connect() const;
    // Null when the server does not let us in; `why` says so then.
    One connect(Lock& lock, DatabaseDeadline deadline, std::string& why);
    void give_back(One one);
    void cut_overdue();

    const PostgresqlConfig config_;
    std::mutex mutex_;
    std::condition_variable freed_;
    std::condition_variable lent_;
    std::vector<std::unique_ptr<PostgresqlConnection>> idle_;
    std::set<PostgresqlConnection*> in_use_;
    std::size_t made_ = 0;          // idle, in use, or being made
    std::uint64_t generation_ = 0;  // those of before are not used any more
    int failures_ = 0;              // to connect, in a row
    bool is_trying_ = false;        // somebody tries, after a failure
    DatabaseDeadline next_try_{};
    DatabaseDeadline last_overdue_{};  // when a work was last cut off
    // Attempts to connect that were left behind and hang; they may outlive this.
    const std::shared_ptr<std::atomic<int>> abandoned_ = std::make_shared<std::atomic<int>>(0);
    bool is_ending_ = false;
    std::thread watch_;
};

}  // namespace server
