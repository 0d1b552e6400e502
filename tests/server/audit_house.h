// What the tests of the audit log share: reading it back, waiting for its answers.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/json.h"
#include "server/audit.h"
#include "server/audit_record.h"
#include "server/merkle.h"
#include "tests/support/fake_clock.h"
#include "tests/support/temporary_directory.h"

namespace tests {

inline std::vector<std::string> lines_of(const std::filesystem::path& file) {
    std::vector<std::string> lines;
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

inline std::string text_field(const std::string& line, std::string_view name) {
    base::JsonLimits limits;
    limits.bytes = line.size();
    const auto record = base::parse_json(line, limits);
    const auto* value = record.find(name);
    return value == nullptr || value->string() == nullptr ? "(none)"
                                                          : std::string(*value->string());
}

// Empty when every line follows from the one before it.
inline std::string chain_fault(const std::vector<std::string>& lines) {
    std::string previous = server::first_previous();
    server::MerkleHasher hasher;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (server::sequence_of(lines[i]) != i + 1)
            return "sequence of line " + std::to_string(i + 1);
        if (text_field(lines[i], "previous") != previous)
            return "chain at line " + std::to_string(i + 1);
        previous = server::line_hash(lines[i], hasher);
    }
    return "";
}

inline server::Operation operation_of(std::string_view caller_id,
                                      server::Action action = {"unwrap_data_key"}) {
    server::Caller caller;
    caller.id = caller_id;
    caller.method = server::AuthenticationMethod::client_certificate;
    caller.address = "127.0.0.1";
    server::Operation operation(base::Uuid::random(), base::from_milliseconds(1'800'000'000'000),
                                caller);
    operation.set_action(action);
    return operation;
}

// Waits for callbacks, with a bound that only a broken log reaches.
class Answers {
public:
    server::AuditLog::Done callback() {
        return [this](std::uint64_t sequence) {
            const std::lock_guard lock(mutex_);
            (sequence != 0 ? yes_ : no_) += 1;
            last_ = std::max(last_, sequence);
            changed_.notify_all();
        };
    }
    bool wait_for(std::size_t count, std::chrono::milliseconds bound = std::chrono::seconds(20)) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, bound, [&] { return yes_ + no_ >= count; });
    }
    std::size_t yes() {
        const std::lock_guard lock(mutex_);
        return yes_;
    }
    std::size_t no() {
        const std::lock_guard lock(mutex_);
        return no_;
    }

    // The largest sequence number that was told.
    std::uint64_t last() {
        const std::lock_guard lock(mutex_);
        return last_;
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::uint64_t last_ = 0;
    std::size_t yes_ = 0;
    std::size_t no_ = 0;
};

template <typename Condition>
bool eventually(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (std::chrono::steady_clock::now() < end) {
        if (condition()) return true;
        std::this_thread::yield();
    }
    return false;
}

class AuditLogTest : public ::testing::Test {
protected:
    server::AuditConfig config() const {
        server::AuditConfig config;
        config.directory = folder_ / "audit";
        config.daemon = "kmsd";
        config.node = "node-1";
        return config;
    }
    std::unique_ptr<server::AuditLog> open() {
        return std::make_unique<server::AuditLog>(config(), clock_, log_);
    }
    std::filesystem::path file() const { return folder_ / "audit" / "audit.jsonl"; }

    TemporaryDirectory folder_;
    FakeClock clock_;
    base::Log log_{"audit_test", base::LogLevel::error};
};

}  // namespace tests
