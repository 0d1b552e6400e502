// What a token worker may not ask of the system, and that modules work without it. The contract
// suites of tests/hsm run in workers too, with the filter in force.
#include <gtest/gtest.h>

#include <linux/kcmp.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <functional>

#include "kms/token_worker_filter.h"
#include "tests/hsm/processes.h"
#include "tests/hsm/remote_fixture.h"
#include "tests/support/expect_error.h"

namespace tests {
namespace {

using base::as_bytes;
using hsm::KeyId;
using hsm::KeyKind;
using hsm::KeyProfile;

struct Forbidden {
    const char* name;
    std::function<long()> call;
    int refusal = EPERM;
};

// The child of a fork that should not have been ends at once.
long forget(long child) {
    if (child == 0) ::syscall(SYS_exit_group, 0);  // no code of a library in between
    if (child > 0) ::waitpid(static_cast<pid_t>(child), nullptr, 0);
    return child;
}

#ifndef __SANITIZE_THREAD__
// In our memory, with our thread's variables: it must touch neither.
__attribute__((no_sanitize("thread", "address", "undefined"))) int end_at_once(void* /*unused*/) {
    return 0;
}
long clone_in_our_memory(int more) {
    alignas(64) static std::array<char, 65536> stack;
    return forget(
        ::clone(end_at_once, stack.data() + stack.size(), CLONE_VM | SIGCHLD | more, nullptr));
}
#endif

// What anybody may ask for, if there is no filter.
std::vector<Forbidden> forbidden_calls() {
    return {{"personality", [] { return ::syscall(SYS_personality, 0xffffffffUL); }},
            {"process_vm_readv",
             [] {
                 char from = 'x';
                 char to = 0;
                 iovec here{&to, 1};
                 iovec there{&from, 1};
                 return static_cast<long>(::process_vm_readv(::getpid(), &here, 1, &there, 1, 0));
             }},
            {"unshare", [] { return ::syscall(SYS_unshare, 0); }},
            {"kcmp", [] { return ::syscall(SYS_kcmp, ::getpid(), ::getpid(), KCMP_VM, 0UL, 0UL); }},
            {"fork", [] { return forget(::syscall(SYS_fork)); }},
            {"clone", [] { return forget(::syscall(SYS_clone, SIGCHLD, 0UL, 0UL, 0UL, 0UL)); }},
#ifndef __SANITIZE_THREAD__  // its clone() is another, which does not take these flags
            {"clone beside us in our memory", [] { return clone_in_our_memory(0); }},
            {"clone in another namespace",
             [] { return clone_in_our_memory(CLONE_VFORK | CLONE_NEWUSER); }},
#endif
            {"clone3",
             [] {
                 clone_args wanted{};
                 wanted.exit_signal = SIGCHLD;
                 return forget(::syscall(SYS_clone3, &wanted, sizeof wanted));
             },
             ENOSYS},
            {"ptrace", [] { return ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); }}};
}

// A module of which we know what it needs has no way to the network, though one of a network HSM
// must have. The sockets are none, which an unfiltered system says.
std::vector<Forbidden> calls_of_the_network() {
    static sockaddr nowhere{};
    return {{"socket", [] { return static_cast<long>(::socket(AF_INET, SOCK_STREAM, 0)); }},
            {"connect", [] { return static_cast<long>(::connect(-1, &nowhere, sizeof nowhere)); }},
            {"bind", [] { return static_cast<long>(::bind(-1, &nowhere, sizeof nowhere)); }},
            {"listen", [] { return static_cast<long>(::listen(-1, 1)); }},
            {"accept", [] { return static_cast<long>(::accept(-1, nullptr, nullptr)); }}};
}

bool is_refused(const Forbidden& forbidden) {
    errno = 0;
    return forbidden.call() < 0 && errno == forbidden.refusal;
}

// Every kind of operation, also what reads and writes the token's files and begins anew.
void use_all_of(hsm::Token& token) {
    for (const KeyKind kind :
         {KeyKind::aes_256, KeyKind::hmac_sha_256, KeyKind::ecdsa_p256, KeyKind::ecdsa_p384}) {
        const KeyId key = KeyId::random();
        token.generate_key(key, "", kind, KeyProfile::sealed);
        if (kind == KeyKind::aes_256) {
            const auto made = token.encrypt(key, as_bytes("aad"), as_bytes("secret"));
            if (!token.decrypt(key, made.iv, as_bytes("aad"), made.ciphertext)
                     .equals(as_bytes("secret")))
                throw std::runtime_error("another text");
        } else if (kind == KeyKind::hmac_sha_256) {
            static_cast<void>(token.mac(key, as_bytes("message")));
        } else {
            static_cast<void>(token.sign(key, kind, as_bytes("message")));
        }
        if (!token.find_key(key)) throw std::runtime_error("no key");
        token.destroy_key(key);
    }
    base::Bytes random(32);
    token.random(random);
    token.check();
}

// In a process that ends, since a filter stays.
template <typename Fixture>
[[noreturn]] void use_under_filter() {
    int status = 1;
    try {
        base::Log log("kms_tests", base::LogLevel::error);
        const Fixture fixture;
        auto token = hsm::open_token(fixture.config(), fixture.pin(), log);
        std::vector<Forbidden> forbidden = forbidden_calls();
        if (token->info().is_softhsm) {
            for (Forbidden& each : calls_of_the_network()) {
                if (is_refused(each)) throw std::runtime_error("no network without a filter");
                forbidden.push_back(std::move(each));
            }
        }
        std::vector<Forbidden> allowed_before;
        for (const Forbidden& each : forbidden) {
            // A second PTRACE_TRACEME is refused in any case.
            if (std::string_view(each.name) == "ptrace" || !is_refused(each))
                allowed_before.push_back(each);
        }
        if (allowed_before.size() < 3) throw std::runtime_error("too much is refused already");
        kms::restrict_system_calls(token->info());
        status = 0;
        for (const Forbidden& each : allowed_before) {
            if (is_refused(each)) continue;
            std::cerr << each.name << " is not refused\n";
            status = 2;
        }
        use_all_of(*token);
        token.reset();
        use_all_of(*hsm::open_token(fixture.config(), fixture.pin(), log));
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        status = 3;
    }
    std::_Exit(status);
}

template <typename Fixture>
class TokenWorkerFilter : public testing::Test {};
using RealTokens = testing::Types<SoftHsmToken, NssToken>;
TYPED_TEST_SUITE(TokenWorkerFilter, RealTokens);

TYPED_TEST(TokenWorkerFilter, AModuleDoesAllItsWorkUnderIt) {
    EXPECT_EXIT(use_under_filter<TypeParam>(), testing::ExitedWithCode(0), "");
}

TYPED_TEST(TokenWorkerFilter, EveryThreadOfAWorkerIsBoundByIt) {
    base::Log log("kms_tests", base::LogLevel::error);
    const Remote<TypeParam> fixture;
    const auto token = fixture.open(log);
    use_all_of(*token);
    EXPECT_TRUE(comes_true([] { return workers().size() == 2; }));
    const pid_t serves = workers().front();
    std::size_t threads = 0;
    for (const auto& thread :
         std::filesystem::directory_iterator("/proc/" + std::to_string(serves) + "/task")) {
        std::ifstream file(thread.path() / "status");
        const std::string status{std::istreambuf_iterator<char>(file), {}};
        EXPECT_NE(status.find("\nSeccomp:\t2\n"), std::string::npos) << status;
        EXPECT_NE(status.find("\nNoNewPrivs:\t1\n"), std::string::npos) << status;
        ++threads;
    }
    EXPECT_GT(threads, 1U);
}

}  // namespace
}  // namespace tests
