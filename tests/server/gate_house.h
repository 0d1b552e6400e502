// A gate with a route of every kind and a log of its own, for tests of what it does with requests.
#pragma once

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <condition_variable>
#include <csignal>
#include <fstream>
#include <future>
#include <mutex>

#include "server/answer.h"
#include "server/gate.h"
#include "server/policy.h"
#include "tests/support/fake_clock.h"
#include "tests/support/temporary_directory.h"

namespace tests {

using server::Access;
using server::Method;
using server::Operation;
using server::Request;
using server::Response;

inline constexpr server::Action read_thing{"read_thing"};
inline constexpr server::Action observe{"observe"};

inline Response ok() {
    base::JsonWriter body;
    body.begin_object().field("status", "ok").end_object();
    return server::json_answer(std::move(body));
}

inline std::string header_of(const Response& response, std::string_view name) {
    for (const auto& [key, value] : response.headers) {
        if (key == name) return value;
    }
    return {};
}

// While it stands the disk is full for this process: a log of `size` bytes can't grow.
class FullDisk {
public:
    explicit FullDisk(std::size_t size) {
        std::signal(SIGXFSZ, SIG_IGN);
        EXPECT_EQ(getrlimit(RLIMIT_FSIZE, &usual_), 0);
        const rlimit full{size, usual_.rlim_max};
        EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
    }
    ~FullDisk() { make_room(); }
    FullDisk(const FullDisk&) = delete;
    FullDisk& operator=(const FullDisk&) = delete;
    void make_room() const { EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &usual_), 0); }

private:
    rlimit usual_{};
};

class GateTest : public testing::Test {
protected:
    GateTest() { make_gate({}); }

    void make_gate(server::GateConfig config) {
        gate_.reset();
        gate_ = std::make_unique<server::Gate>(config, routes_, authenticator_, authorizer_, audit_,
                                               metrics_, clock_, log_);
    }

    std::vector<server::Route> rows() {
        const auto row = [](Method method, std::string_view pattern, server::Action action,
                            Access access, std::size_t max_body, server::Handler handler) {
            return server::Route{method, pattern, action, access, max_body, "", std::move(handler)};
        };
        return {
            row(Method::GET, "/open", observe, Access::open, 0,
                [](Operation&, const Request&) { return ok(); }),
            row(Method::GET, "/watch", observe, Access::observed, 0,
                [](Operation&, const Request&) { return ok(); }),
            row(Method::POST, "/large", read_thing, Access::authenticated,
                server::ordinary_body_bytes + 1, [](Operation&, const Request&) { return ok(); }),
            row(Method::POST, "/things/{name}", read_thing, Access::authenticated, 100,
                [this](Operation& operation, const Request& request) {
                    traceparent_ = operation.traceparent();
                    name_ = request.path_parameter("name");
                    return ok();
                }),
            row(Method::POST, "/fail/{how}", read_thing, Access::authenticated, 100,
                [](Operation&, const Request& request) -> Response {
                    if (request.path_parameter("how") == "denied") {
                        throw base::Error(base::ErrorCode::permission_denied, "not allowed");
                    }
                    if (request.path_parameter("how") == "strange") {
                        throw std::runtime_error("inner detail");
                    }
                    throw base::Error(base::ErrorCode::unavailable, "try again", "inner detail");
                }),
            {Method::POST, "/shaped/{how}", read_thing, Access::authenticated, 100, "",
             [](Operation&, const Request& request) -> Response {
                 if (request.path_parameter("how") == "broken") throw std::runtime_error("inner");
                 throw base::Error("too much", base::Overrun{"l", 7, std::chrono::seconds(9)});
             },
             [](const base::Error& error) {
                 base::JsonWriter body;
                 body.begin_object().field("success", false).field("why", error.message());
                 body.end_object();
                 const bool ours = error.code() == base::ErrorCode::internal;
                 return server::json_answer(std::move(body),
                                            ours ? 418 : server::http_status(error.code()));
             }},
            {Method::POST,
             "/joint",
             read_thing,
             Access::authenticated,
             100,
             "",
             [](Operation&, const Request&) { return ok(); },
             {},
             server::Credential::any,
             false,
             [this](std::span<server::JointCall> calls) { joint(calls); }},
            server::changing(row(Method::PUT, "/change/{how}", read_thing, Access::authenticated, 0,
                                 [this](Operation& operation, const Request& request) {
                                     change(operation, request.path_parameter("how"));
                                     return ok();
                                 })),
            row(Method::POST, "/hold", read_thing, Access::authenticated, 0,
                [this](Operation&, const Request&) {
                    std::unique_lock lock(mutex_);
                    ++holding_;
                    changed_.notify_all();
                    changed_.wait(lock, [this] { return released_; });
                    return ok();
                }),
        };
    }

    // Says so before, unless it is done "silently" or was done before ("again").
    void change(Operation& operation, const std::string& how) {
        if (how == "again") operation.set_fact("repeated", "answered before");
        if (how == "said") operation.record_intent();
        records_at_change_ = records();
        ++changes_;
    }

    // Answers each with what its body says: "fail", "strange", "none", or anything else.
    void joint(std::span<server::JointCall> calls) {
        groups_.push_back(calls.size());
        for (auto& call : calls) {
            if (call.request.body == R"("all")") {
                throw base::Error(base::ErrorCode::unavailable, "try again", "inner detail");
            }
            if (call.request.body == R"("none")") continue;
            server::settle(call, [&] {
                if (call.request.body == R"("fail")") {
                    throw base::Error(base::ErrorCode::already_exists, "taken");
                }
                if (call.request.body == R"("strange")") throw std::runtime_error("inner detail");
                return ok();
            });
        }
    }

    static Request request(Method method, std::string_view path, bool with_certificate = true) {
        Request result;
        result.method = method;
        result.path = path;
        result.peer_address = "127.0.0.1";
        result.received = std::chrono::steady_clock::now();
        if (with_certificate) {
            result.certificate = std::make_shared<const server::PeerCertificate>(
                server::PeerCertificate{"CN=app", {"spiffe://t/app"}, "ab"});
        }
        return result;
    }

    std::future<Response> begin(Request request) {
        auto promise = std::make_shared<std::promise<Response>>();
        gate_->handle(std::move(request),
                      [promise](Response response) { promise->set_value(std::move(response)); });
        return promise->get_future();
    }

    Response ask(Request request) {
        auto answer = begin(std::move(request));
        if (answer.wait_for(std::chrono::seconds(10)) != std::future_status::ready) {
            throw std::runtime_error("no answer");
        }
        return answer.get();
    }

    // All that was recorded so far, as text.
    // The log has no room for another record.
    FullDisk full_disk() const {
        return FullDisk(std::filesystem::file_size(directory_ / "audit.jsonl"));
    }

    std::string records() const {
        std::string all;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_.path())) {
            if (!entry.is_regular_file()) continue;
            std::ifstream file(entry.path());
            all.append(std::istreambuf_iterator<char>(file), {});
        }
        return all;
    }

    // Waits until the record of a refusal, which nobody waits for, is there.
    bool recorded(std::string_view text) const {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        while (records().find(text) == std::string::npos) {
            if (std::chrono::steady_clock::now() > end) return false;
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        return true;
    }

    // Waits until the audit log says that it can be written.
    bool log_heals() const {
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        while (std::chrono::steady_clock::now() < end) {
            try {
                audit_.check();
                return true;
            } catch (const base::Error&) {
                std::this_thread::sleep_for(std::chrono::milliseconds(5));
            }
        }
        return false;
    }

    void release() {
        const std::scoped_lock lock(mutex_);
        released_ = true;
        changed_.notify_all();
    }

    void wait_for_held(int count) {
        std::unique_lock lock(mutex_);
        ASSERT_TRUE(
            changed_.wait_for(lock, std::chrono::seconds(10), [&] { return holding_ >= count; }));
    }

    TemporaryDirectory directory_;
    FakeClock clock_;
    base::Log log_{"test", base::LogLevel::error};
    server::Metrics metrics_{"test"};
    server::AuditLog audit_{
        {directory_.path(), "test", "node", std::chrono::milliseconds(1000)}, clock_, log_};
    std::mutex mutex_;
    std::condition_variable changed_;
    int holding_ = 0;
    bool released_ = false;
    std::string traceparent_;
    std::string name_;
    int changes_ = 0;
    std::string records_at_change_;    // the log when the last change was made
    std::vector<std::size_t> groups_;  // sizes of those that were handled together
    server::RouteTable routes_{rows()};
    server::Authenticator authenticator_;
    server::Authorizer authorizer_{server::parse_policy(
        R"({"version":1,"roles":{"reader":[{"id":"read","effect":"allow",
            "actions":["read_thing"],"resources":["*"]}]},
            "bindings":[{"caller":"spiffe://t/app","roles":["reader"]}]})",
        {read_thing.word, observe.word})};
    std::unique_ptr<server::Gate> gate_;
};

}  // namespace tests
