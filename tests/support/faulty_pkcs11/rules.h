// What the fault module is told to do, as read from its control file. The language is described in
// README.md.
#pragma once

#include <bitset>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/faulty_pkcs11/functions.h"

namespace tests {

enum class Action {
    none,
    logout,              // the login is gone, everything else stays
    close_sessions,      // every session is closed, and with the last one the login
    invalidate_handles,  // every object handle given out so far is no handle any more
    permute_handles,     // each denotes another object; a search gives the new ones
    permute_finds,       // a search gives another object's handle
    crash,               // the process ends as by a bug in the module
};

struct Rule {
    std::bitset<function_count> functions;
    bool after = false;  // the real call is made first

    // Which of the matching calls it strikes; they are counted from 1 since the file was read.
    std::optional<std::uint64_t> nth;
    std::uint64_t skip = 0;
    std::uint64_t every = 1;
    std::uint64_t times = std::numeric_limits<std::uint64_t>::max();
    std::optional<double> probability;
    std::uint64_t seed = 0;

    // What it does then, in this order.
    std::chrono::milliseconds delay{0};
    bool hang = false;
    Action action = Action::none;
    std::optional<std::int64_t> flip;  // this byte's lowest bit; negative: counted from the end
    bool flip_random = false;          // a bit anywhere in the output
    std::optional<std::uint8_t> fill;  // the whole output
    std::uint64_t truncate = 0;        // the output says that it is so much shorter
    CK_RV code = CKR_OK;

    // Whether it strikes the n-th matching call, `times` aside.
    bool strikes(std::uint64_t n) const noexcept;
    bool changes_output() const noexcept { return flip || flip_random || fill || truncate != 0; }
};

enum class IvMaker {
    caller,    // the standard
    zeroed,    // encryption demands 12 zero bytes and writes the IV over them
    appended,  // encryption demands no IV and puts it behind the ciphertext; decryption the same
};

// How some vendors' modules differ.
struct Behaviour {
    bool away = false;  // no token in any slot, no session valid
    bool strict_iv_bits = false;
    IvMaker iv = IvMaker::caller;
    std::uint64_t max_sessions = 0;             // 0: no limit
    std::chrono::milliseconds session_idle{0};  // closed when unused for longer; 0: never
    std::uint64_t pin_attempts = 0;             // 0: never locks
    std::uint64_t max_data = 0;                 // bytes in one C_Encrypt or C_Decrypt; 0: no limit
    bool unique_ids = false;
    bool no_derive = false;
};

struct Rules {
    std::vector<Rule> rules;
    Behaviour behaviour;
};

inline constexpr std::size_t max_rules = 256;

// Throws std::runtime_error naming the line that is wrong.
Rules parse_rules(std::string_view text);

// A pseudo-random number that only `seed` and `n` decide.
std::uint64_t mixed(std::uint64_t seed, std::uint64_t n) noexcept;

}  // namespace tests
