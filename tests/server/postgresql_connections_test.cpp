// The connections that works share: when the server lets no more in, when one is overdue, and when
// the server stands still while one is made.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <set>
#include <thread>

#include "base/log.h"
#include "server/database.h"
#include "tests/support/expect_error.h"
#include "tests/support/postgresql.h"

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Lets a client in as PostgreSQL does (its protocol, version 3), and then says nothing any more.
class SilentServer {
public:
    SilentServer() {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
            ::listen(listener_, 8) != 0 ||
            ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
            throw std::runtime_error("no silent server");
        }
        port_ = ntohs(address.sin_port);
        thread_ = std::thread([this] { run(); });
    }
    ~SilentServer() {
        ::shutdown(listener_, SHUT_RDWR);
        thread_.join();
        ::close(listener_);
        for (const int peer : peers_) ::close(peer);
    }
    SilentServer(const SilentServer&) = delete;
    SilentServer& operator=(const SilentServer&) = delete;

    std::uint16_t port() const { return port_; }

private:
    static std::string message(char type, const std::string& body) {
        const std::uint32_t size = htonl(static_cast<std::uint32_t>(body.size() + 4));
        return type + std::string(reinterpret_cast<const char*>(&size), 4) + body;
    }
    static std::string status(const std::string& name, const std::string& value) {
        return message('S', name + std::string(1, '\0') + value + std::string(1, '\0'));
    }
    void run() {
        const std::string welcome =
            message('R', std::string(4, '\0')) + status("server_version", "15.0") +
            status("client_encoding", "UTF8") + status("default_transaction_read_only", "off") +
            status("in_hot_standby", "off") + status("standard_conforming_strings", "on") +
            message('Z', "I");
        for (int peer = 0; (peer = ::accept(listener_, nullptr, nullptr)) >= 0;) {
            std::array<char, 4096> start{};
            if (::recv(peer, start.data(), start.size(), 0) > 0)
                ::send(peer, welcome.data(), welcome.size(), MSG_NOSIGNAL);
            peers_.push_back(peer);
        }
    }

    const int listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    std::uint16_t port_ = 0;
    std::vector<int> peers_;
    std::thread thread_;
};

class PostgresqlPool : public testing::Test {
protected:
    void SetUp() override { SKIP_WITHOUT_POSTGRESQL(); }

    static int process_of(soci::session& sql) {
        int process = 0;
        sql << "SELECT pg_backend_pid()", soci::into(process);
        return process;
    }

    tests::PostgresqlSchema schema_;
    base::Log log_{"tests", base::LogLevel::error};
};

// A role of its own on the server, which lets it in or not.
class CrowdedPool : public PostgresqlPool {
protected:
    void SetUp() override {
        PostgresqlPool::SetUp();
        if (IsSkipped()) return;
        schema_.sql("CREATE ROLE " + schema_.name() + " LOGIN SUPERUSER");
        auto config = schema_.config();
        config.user = schema_.name();
        config.connections = 4;
        pool_ = server::open_database(std::move(config), log_);
        schema_.sql("ALTER ROLE " + schema_.name() + " NOLOGIN");
    }
    void TearDown() override {
        if (!pool_) return;
        pool_.reset();
        schema_.sql("DROP OWNED BY " + schema_.name() + " CASCADE");
        schema_.sql("DROP ROLE " + schema_.name());
    }

    // Another work begins while one has the only connection, which does `hold` before it ends.
    template <typename Hold>
    void two_works(const Hold& hold) {
        std::atomic<bool> is_waiting = false;
        std::thread other;
        pool_->read([&](soci::session&) {
            other = std::thread([&] {
                is_waiting = true;
                EXPECT_NO_THROW(pool_->check());
            });
            while (!is_waiting) std::this_thread::yield();
            hold();
        });
        other.join();
        EXPECT_NO_THROW(pool_->check());
    }

    std::unique_ptr<server::Database> pool_;
};

// The server has no place for one more connection of ours: one that is there comes free.
TEST_F(CrowdedPool, WhenTheServerLetsNoMoreInTheOthersWaitForWhatIsThere) {
    // Long enough for the other to have been refused by the server, were it not to wait.
    two_works([this] { schema_.sql("SELECT pg_sleep(0.3)::text"); });
}

TEST_F(CrowdedPool, OneThatComesFreeWhileTheServerRefusesAnotherIsTaken) {
    two_works([] {});
}

// A work that took too long says nothing of the connections that others have.
TEST_F(PostgresqlPool, AnOverdueWorkCostsItsOwnConnectionOnly) {
    auto config = schema_.config();
    config.deadline = milliseconds(1000);
    config.connections = 2;
    const auto hasty = server::open_database(std::move(config), log_);
    std::set<int> before;
    hasty->read([&](soci::session& first) {
        before.insert(process_of(first));
        hasty->read([&](soci::session& second) { before.insert(process_of(second)); });
    });
    ASSERT_EQ(before.size(), 2U);
    EXPECT_ERROR(unavailable, hasty->read([](soci::session& sql) {
        sql << "SET LOCAL statement_timeout = 0";
        sql << "SELECT pg_sleep(20)";
    }));
    int now = 0;
    hasty->read([&](soci::session& sql) { now = process_of(sql); });
    EXPECT_EQ(before.count(now), 1U);
}

// Stopped in the middle of what follows the connecting, which libpq does not bound.
TEST_F(PostgresqlPool, AServerThatStandsStillWhenAConnectionIsMadeIsUnavailableAtTheDeadline) {
    SilentServer silent;
    auto config = schema_.config();
    config.host = "127.0.0.1";
    config.port = silent.port();
    config.deadline = milliseconds(1500);
    const auto begin = steady_clock::now();
    EXPECT_ERROR(unavailable, server::open_database(std::move(config), log_));
    EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST_F(PostgresqlPool, OldMarksAreFoundByTheirAge) {
    const auto database = schema_.open();
    EXPECT_EQ(schema_.sql("SELECT COUNT(*)::text FROM pg_indexes WHERE schemaname = '" +
                          schema_.name() + "' AND indexname = 'commit_marks_by_age'"),
              "1");
}

}  // namespace
