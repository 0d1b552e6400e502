// The edge when the system refuses it something: accept() fails, descriptors or memory run out, a
// refusal can't be made.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <new>

#include "tests/server/edge_house.h"

namespace tests {
namespace {

// What the next calls of accept4 in this process fail with; see the function below.
std::atomic<int> accept_error{0};
std::atomic<int> accept_failures{0};

// How many allocations the next thread that accepts a connection has until one fails; 0: all are
// given.
std::atomic<int> allocations_after_accept{0};
thread_local int allocations_left = 0;
std::atomic<int> allocations_failed{0};

}  // namespace
}  // namespace tests

// In front of the library's: fails as told.
void* operator new(std::size_t size) {
    if (tests::allocations_left > 0 && --tests::allocations_left == 0) {
        ++tests::allocations_failed;
        throw std::bad_alloc();
    }
    if (void* memory = std::malloc(size)) return memory;
    throw std::bad_alloc();
}
// Of one kind with the deletes: the library's own would come from another heap under a sanitizer.
void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
    return std::malloc(size);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { std::free(memory); }

// In front of the C library's: fails as told, else does what the kernel does.
extern "C" int accept4(int listener, sockaddr* address, socklen_t* size, int flags) {
    if (tests::accept_failures > 0) {
        --tests::accept_failures;
        errno = tests::accept_error;
        return -1;
    }
    const int socket = static_cast<int>(::syscall(SYS_accept4, listener, address, size, flags));
    if (socket >= 0) tests::allocations_left = tests::allocations_after_accept.exchange(0);
    return socket;
}

namespace tests {
namespace {

class EdgeFailuresTest : public testing::Test {
protected:
    std::unique_ptr<RawClient> client() {
        return std::make_unique<RawClient>(house_.edge->port(),
                                           ClientOptions{house_.pki.ca(), house_.app, 0, {}});
    }

    EdgeHouse house_;
};

TEST_F(EdgeFailuresTest, NoErrorOfAcceptEndsTheListening) {
    house_.start();
    for (const int error : {ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTO, EINTR, EPERM}) {
        SCOPED_TRACE(error);
        accept_error = error;
        accept_failures = 3;
        EXPECT_TRUE(eventually([this] { return client()->ask(get("/")).status == 200; }));
        EXPECT_EQ(accept_failures, 0);
    }
}

// Each allocation of the thread that takes connections fails in turn, until there are no more.
TEST_F(EdgeFailuresTest, NoFailedAllocationEndsTheListeningOrKeepsAPlace) {
    house_.config.max_connections_per_peer = 2;
    house_.config.threads = 1;
    house_.start();
    const auto open_files = [] {
        return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
    };
    ASSERT_TRUE(eventually([&] { return client()->ask(get("/")).status == 200; }));
    const auto before = open_files();
    int failed = 0;
    int not_failed = 0;
    for (int nth = 1; not_failed < 5; ++nth) {
        SCOPED_TRACE(nth);
        allocations_after_accept = nth;
        static_cast<void>(client()->ask(get("/")));
        ASSERT_TRUE(eventually([this] { return client()->ask(get("/")).status == 200; }));
        ++(allocations_failed.exchange(0) > 0 ? failed : not_failed);
    }
    EXPECT_GE(failed, 5) << "there was something to fail";
    EXPECT_TRUE(eventually([&] { return open_files() <= before; })) << "no socket is left open";
}

TEST_F(EdgeFailuresTest, ARefusalThatFailsKeepsNobodyElseFromHis) {
    house_.config.threads = 1;
    house_.config.head_deadline = std::chrono::milliseconds(300);
    house_.handler.failing_refusals = 5;
    house_.start();
    std::vector<std::unique_ptr<RawClient>> slow;
    for (int i = 0; i < 10; ++i) {
        slow.push_back(client());
        slow.back()->send("GET / HTTP/1.1\r\nHo");
    }
    int told = 0;
    for (const auto& each : slow) told += each->read().status == 408 ? 1 : 0;
    EXPECT_EQ(told, 5);
    EXPECT_EQ(house_.handler.failing_refusals, 0);
}

TEST_F(EdgeFailuresTest, WithoutFileDescriptorsPeersAreRefusedAtOnceAndServedLater) {
    house_.start();
    const auto before = client();
    ASSERT_EQ(before->ask(get("/")).status, 200);
    rlimit old{};
    getrlimit(RLIMIT_NOFILE, &old);
    std::vector<int> hoard;
    // Client sockets exist already when the process runs out of descriptors.
    const int late = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const rlimit low{static_cast<rlim_t>(late) + 10, old.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
    for (int fd = ::dup(0); fd >= 0; fd = ::dup(0)) hoard.push_back(fd);

    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(house_.edge->port());
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::connect(late, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    const auto start = std::chrono::steady_clock::now();
    char byte = 0;
    EXPECT_LE(::recv(late, &byte, 1, 0), 0);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
    EXPECT_EQ(before->ask(get("/")).status, 200);

    for (const int fd : hoard) ::close(fd);
    setrlimit(RLIMIT_NOFILE, &old);
    ::close(late);
    EXPECT_TRUE(eventually([this] { return client()->ask(get("/")).status == 200; }));
}

}  // namespace
}  // namespace tests
