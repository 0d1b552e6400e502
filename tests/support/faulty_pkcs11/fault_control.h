// A fault module to be told what to do: a copy of the library with its control folder beside it, so
// that several can be used at once, each of its own.
//
//     tests::FaultControl faults(folder, softhsm_library);
//     config.module = faults.library();
//     faults.set("C_Decrypt code=CKR_DEVICE_REMOVED times=3");
//     ... EXPECT_EQ(faults.calls(tests::Function::C_Finalize), 0U);
#pragma once

#include <filesystem>
#include <string_view>

#include "tests/support/faulty_pkcs11/ledger.h"

namespace tests {

// Any thread.
class FaultControl {
public:
    // Writes into `folder`, which is there. Throws std::runtime_error.
    FaultControl(const std::filesystem::path& folder, std::string_view wrapped_module);

    std::filesystem::path library() const { return library_; }
    std::filesystem::path control_folder() const { return library_.string() + ".control"; }

    // In force from the next call on, in the place of all rules before; the counts of rules start
    // at zero, hanging calls go on. Throws std::runtime_error naming the line that is wrong.
    void set(std::string_view rules) const;
    void clear() const { set(""); }

    std::uint64_t calls(Function function) const { return of(function).calls; }
    std::uint64_t struck(Function function) const { return of(function).struck; }
    std::uint64_t failed(Function function) const { return of(function).failed; }
    // How often the rule of that number, from 0, struck since set().
    std::uint64_t struck(std::size_t rule) const { return (*ledger_).rules.at(rule).struck; }
    // The counts of functions start at zero again.
    void forget_counts() const;
    std::uint64_t hanging() const { return ledger_->hanging; }
    std::uint64_t most_sessions() const { return ledger_->most_sessions; }

private:
    const Ledger::OfFunction& of(Function function) const {
        return (*ledger_).functions.at(index_of(function));
    }

    std::filesystem::path library_;
    SharedLedger ledger_;
};

}  // namespace tests
