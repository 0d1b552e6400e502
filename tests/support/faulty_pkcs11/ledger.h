// What the fault module counts, in a file that other processes map or read while it runs.
#pragma once

#include <array>
#include <atomic>
#include <filesystem>

#include "tests/support/faulty_pkcs11/rules.h"

namespace tests {

// The file `ledger`: little-endian 64-bit numbers in this order, 8-byte aligned. Counted over all
// processes that use the same folder.
struct Ledger {
    using Number = std::atomic<std::uint64_t>;
    struct OfFunction {
        Number calls;   // all
        Number struck;  // those that a rule did something to
        Number failed;  // those that did not answer CKR_OK, whoever's doing it was
    };
    struct OfRule {
        Number matched;  // calls of its functions
        Number struck;
    };
    Number version;        // of the control file that the counts of rules belong to
    Number hanging;        // calls that hang now
    Number pin_failures;   // since the last good login, where PINs lock
    Number most_sessions;  // the most that were open at once, in one process
    std::array<Number, 4> reserved;
    std::array<OfFunction, 128> functions;  // in the order of functions.h
    std::array<OfRule, max_rules> rules;    // in the order of their lines
};
static_assert(sizeof(Ledger) == sizeof(std::uint64_t) * (8 + 3 * 128 + 2 * max_rules));
static_assert(Ledger::Number::is_always_lock_free);
static_assert(function_count <= 128);

// The file mapped, and made when it is not there. Throws std::runtime_error. Any thread.
class SharedLedger {
public:
    explicit SharedLedger(const std::filesystem::path& file);
    ~SharedLedger();
    SharedLedger(const SharedLedger&) = delete;
    SharedLedger& operator=(const SharedLedger&) = delete;

    Ledger& operator*() const noexcept { return *ledger_; }
    Ledger* operator->() const noexcept { return ledger_; }

    // The counts of rules start at zero when `version` is not theirs, in one process of all.
    void begin(std::uint64_t version) const;

private:
    int file_ = -1;
    Ledger* ledger_ = nullptr;
};

}  // namespace tests
