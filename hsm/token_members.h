// The members of a token set (hsm/token_set.h): opens them, knows which of them answer, and brings
// back those that did not. Knows nothing of keys.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "hsm/token.h"

namespace hsm {

struct TokenMember {
    std::string name;  // for operators and the log
    // Opens it; asked again later when it throws. The token must call `logged_in_again` as
    // TokenConfig says.
    std::function<std::unique_ptr<Token>(std::function<void()> logged_in_again)> open;
};

struct TokenSetPauses {
    std::chrono::milliseconds probe{1000};    // between two looks whether a member is back
    std::chrono::milliseconds opening{5000};  // between two attempts to open one
    // Before a member is asked again for a key that it did not have, or had another of: doubled
    // with each time, up to the longest.
    std::chrono::milliseconds first_look{1000};
    std::chrono::milliseconds longest_look{60'000};
};

// Safe to share between threads.
class TokenMembers {
public:
    static constexpr std::size_t most = 8;

    struct Hooks {
        std::function<void()> logged_in_again;  // as TokenConfig's, of any of them
        std::function<void()> changed;  // one went away, or is back; on the thread that found it
    };
    // Opens all of them, one after the other. One that can't be opened is away; when none can,
    // throws what the first was refused with. `log` must outlive it.
    TokenMembers(std::vector<TokenMember> members, TokenSetPauses pauses, Hooks hooks,
                 base::Log& log);
    ~TokenMembers();
    TokenMembers(const TokenMembers&) = delete;
    TokenMembers& operator=(const TokenMembers&) = delete;

    std::size_t size() const noexcept { return members_.size(); }
    const std::string& name(std::size_t member) const { return members_[member].what.name; }
    // Null until it has been opened. Lives as long as this.
    Token* token(std::size_t member) const noexcept { return members_[member].token.load(); }
    // It is open, and answered when it was last asked.
    bool is_well(std::size_t member) const noexcept { return members_[member].is_well.load(); }
    // Another one after each of its logins.
    std::uint64_t generation(std::size_t member) const noexcept {
        return members_[member].generation.load();
    }
    // Why it is not open. Throws unavailable, for a member without a token.
    [[noreturn]] void refuse_closed(std::size_t member) const;

    // Another one after each trouble: an answer to a question from before it says nothing.
    std::uint64_t troubles(std::size_t member) const noexcept {
        return members_[member].troubles.load();
    }
    // `troubles` are those from before it was asked.
    void note_answer(std::size_t member, std::uint64_t troubles);
    void note_trouble(std::size_t member, const base::Error& error);

    // Runs it soon on the thread that watches the members, which looks after them between two jobs;
    // what it throws is dropped, and so is what has not begun when this ends.
    void post(std::function<void()> job);

private:
    using Instant = std::chrono::steady_clock::time_point;

    struct Member {
        TokenMember what;
        std::unique_ptr<Token> owned;
        std::atomic<Token*> token{nullptr};
        std::atomic<bool> is_well{false};
        std::atomic<std::uint64_t> generation{1};
        std::atomic<std::uint64_t> troubles{0};
        // Under the lock.
        std::string why_closed;
        bool is_pin_refused = false;  // never shown to it again
        Instant next_try{};
    };

    void open(std::size_t member, bool is_first);
    void watch();
    void run(const std::function<void()>& job) const;
    void look_after(std::size_t member, Instant now);
    Instant next_look(Instant now) const;

    const TokenSetPauses pauses_;
    const Hooks hooks_;
    base::Log& log_;
    std::deque<Member> members_;  // its elements stay where they are

    mutable std::mutex mutex_;
    std::condition_variable wakened_;
    bool is_stopping_ = false;
    std::deque<std::function<void()>> jobs_;
    std::thread watcher_;
};

}  // namespace hsm
