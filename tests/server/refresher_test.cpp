// What keeps something fresh goes on, whatever it meets.
#include "server/refresher.h"

#include <gtest/gtest.h>

#include <atomic>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>

#include "server/jwks_source.h"
#include "tests/support/jwt_signer.h"

namespace tests {
namespace {

using namespace std::chrono_literals;

template <typename Condition>
bool comes_true(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + 60s;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::yield();
    }
    return true;
}

// Something else each time, what is no exception of the library included; then nothing.
[[noreturn]] void throw_something(int round) {
    switch (round % 4) {
        case 0:
            throw std::runtime_error("odd");
        case 1:
            throw std::bad_alloc();
        case 2:
            throw std::string("no exception of the library");
        default:
            throw 7;
    }
}

TEST(Refresher, WhateverALookThrowsTheNextOneIsTakenAndSoIsThatOfTheOthers) {
    constexpr int throwing = 8;
    std::atomic<int> looks = 0;
    std::atomic<int> others = 0;
    std::atomic<bool> same_thread = true;
    std::thread::id thread;
    const server::Refresher refresher({[&] {
                                           if (looks == 0) thread = std::this_thread::get_id();
                                           if (std::this_thread::get_id() != thread)
                                               same_thread = false;
                                           const int round = looks++;
                                           if (round < throwing) throw_something(round);
                                       },
                                       [&] { ++others; }},
                                      1ms);
    EXPECT_TRUE(comes_true([&] { return looks > throwing + 3 && others > throwing + 3; }));
    EXPECT_TRUE(same_thread);
}

TEST(Refresher, KeysThatCouldNotBeFetchedForAnyReasonAreFetchedTheNextTime) {
    const JwtSigner signer("key");
    base::Log log("test", base::LogLevel::error);
    std::atomic<int> fetches = 0;
    server::JwksSource source(
        "https://issuer",
        [&]() -> std::string {
            const int round = fetches++;
            if (round < 4) throw_something(round);
            return jwk_set({signer.jwk()});
        },
        {300s, 0s, 3600s}, log);
    std::atomic<int> rounds = 0;
    const server::Refresher refresher({[&] {
                                          source.refresh_if_due();
                                          ++rounds;
                                      }},
                                      1ms);
    EXPECT_TRUE(comes_true([&] { return rounds > 5; }));  // behind the end of the fifth
    EXPECT_TRUE(source.find("key"));
    EXPECT_EQ(fetches, 5) << "by the refresher, not by who asked";
}

TEST(Refresher, NoLookBeginsAfterItWasStopped) {
    std::atomic<int> looks = 0;
    std::atomic<server::Refresher*> self = nullptr;
    const auto stop_all = [&] {
        ++looks;
        while (self == nullptr) std::this_thread::yield();
        self.load()->stop();
    };
    server::Refresher refresher({stop_all, [&] { ++looks; }}, 1ms);
    self = &refresher;
    EXPECT_TRUE(comes_true([&] { return looks > 0; }));
    refresher.stop();
    EXPECT_EQ(looks, 1);
}

}  // namespace
}  // namespace tests
