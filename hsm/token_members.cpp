#include "hsm/token_members.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "hsm/kept_pin.h"

namespace hsm {
namespace {

constexpr std::chrono::seconds longest_rest{60};

}  // namespace

TokenMembers::TokenMembers(std::vector<TokenMember> members, TokenSetPauses pauses, Hooks hooks,
                           base::Log& log)
    : pauses_(pauses), hooks_(std::move(hooks)), log_(log) {
    if (members.empty() || members.size() > most)
        base::refuse("tokens: there must be 1 to " + std::to_string(most));
    for (TokenMember& member : members) members_.emplace_back().what = std::move(member);
    std::exception_ptr refused;
    bool is_any_open = false;
    for (std::size_t member = 0; member < size(); ++member) {
        try {
            open(member, true);
            is_any_open = true;
        } catch (const base::Error&) {
            if (!refused) refused = std::current_exception();
        }
    }
    if (!is_any_open) std::rethrow_exception(refused);
    watcher_ = std::thread([this] { watch(); });
}

TokenMembers::~TokenMembers() {
    if (!watcher_.joinable()) return;
    {
        const std::lock_guard lock(mutex_);
        is_stopping_ = true;
    }
    wakened_.notify_all();
    watcher_.join();
}

void TokenMembers::refuse_closed(std::size_t member) const {
    const std::lock_guard lock(mutex_);
    throw base::Error(base::ErrorCode::unavailable, "a token could not be opened",
                      name(member) + ": " + members_[member].why_closed);
}

void TokenMembers::open(std::size_t member, bool is_first) {
    Member& opened = members_[member];
    try {
        opened.owned = opened.what.open([this, &opened] {
            ++opened.generation;
            if (hooks_.logged_in_again) hooks_.logged_in_again();
        });
    } catch (const base::Error& error) {
        const std::lock_guard lock(mutex_);
        opened.next_try = std::chrono::steady_clock::now() + pauses_.opening;
        opened.is_pin_refused = says_pin_refused(error);
        if (opened.why_closed != error.what()) {
            opened.why_closed = error.what();
            log_.error(opened.is_pin_refused
                           ? "a token of several refused the PIN: it is left alone until a restart"
                           : "a token of several can't be opened: the others serve, it is tried "
                             "again",
                       {{"token", opened.what.name}, {"why", opened.why_closed}});
        }
        throw;
    }
    opened.token = opened.owned.get();
    opened.is_well = true;
    if (is_first) return;
    log_.info("a token of several is open", {{"token", opened.what.name}});
    if (hooks_.logged_in_again) hooks_.logged_in_again();
    if (hooks_.changed) hooks_.changed();
}

void TokenMembers::note_answer(std::size_t member, std::uint64_t troubles) {
    Member& answered = members_[member];
    if (answered.is_well.load(std::memory_order_relaxed) || troubles != answered.troubles) return;
    if (answered.is_well.exchange(true)) return;
    log_.info("a token of several is back", {{"token", answered.what.name}});
    if (hooks_.changed) hooks_.changed();
}

void TokenMembers::note_trouble(std::size_t member, const base::Error& error) {
    Member& troubled = members_[member];
    ++troubled.troubles;
    if (!troubled.is_well.exchange(false)) return;
    log_.warning("a token of several does not answer: others are asked first",
                 {{"token", troubled.what.name}, {"why", error.what()}});
    {
        const std::lock_guard lock(mutex_);
        troubled.next_try = std::chrono::steady_clock::now();
    }
    wakened_.notify_all();
    if (hooks_.changed) hooks_.changed();
}

void TokenMembers::post(std::function<void()> job) {
    {
        const std::lock_guard lock(mutex_);
        jobs_.push_back(std::move(job));
    }
    wakened_.notify_all();
}

void TokenMembers::watch() {
    std::unique_lock lock(mutex_);
    while (!is_stopping_) {
        // One at a time: each may wait for a deadline.
        std::function<void()> job;
        if (!jobs_.empty()) {
            job = std::move(jobs_.front());
            jobs_.pop_front();
        }
        lock.unlock();
        if (job) run(job);
        for (std::size_t member = 0; member < size(); ++member)
            look_after(member, std::chrono::steady_clock::now());
        lock.lock();
        const Instant next = next_look(std::chrono::steady_clock::now());
        wakened_.wait_until(lock, next, [&] {
            return is_stopping_ || !jobs_.empty() ||
                   next_look(std::chrono::steady_clock::now()) < next;
        });
    }
}

void TokenMembers::run(const std::function<void()>& job) const {
    try {
        job();
    } catch (const std::exception& error) {
        log_.debug("a look at a token of several failed", {{"why", error.what()}});
    }
}

// Opens it, or asks whether it is back.
void TokenMembers::look_after(std::size_t member, Instant now) {
    Member& looked_at = members_[member];
    if (looked_at.is_well) return;
    Token* const token = looked_at.token;
    {
        const std::lock_guard lock(mutex_);
        if (is_stopping_ || looked_at.is_pin_refused || now < looked_at.next_try) return;
        looked_at.next_try = now + (token != nullptr ? pauses_.probe : pauses_.opening);
    }
    try {
        if (token == nullptr) return open(member, false);
        const std::uint64_t before = troubles(member);
        token->check();
        note_answer(member, before);
    } catch (const std::exception&) {  // another time
    }
}

// Under the lock.
TokenMembers::Instant TokenMembers::next_look(Instant now) const {
    Instant next = now + longest_rest;
    for (const Member& member : members_) {
        if (!member.is_well && !member.is_pin_refused) next = std::min(next, member.next_try);
    }
    return next;
}

}  // namespace hsm
