// Questions with the answers that a policy must give, from a file like policies/cases.json: people
// who write policies test them without C++. The same runner serves the tests and kmsctl.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "server/policy_words.h"

namespace server {

struct CaseResult {
    std::string suite;
    std::size_t number = 0;  // in its suite, from 0
    std::string question;    // caller, action, resource: for people
    std::string expected;    // "allow, rule operator-keys"
    std::string decided;

    bool passed() const { return expected == decided; }
};

// The words that policies of a daemon may use, by its name; none for an unknown one.
using WordsOf = std::function<PolicyWords(std::string_view daemon)>;

// Every case of the file. A suite's policy is taken from the cases' folder. Throws invalid_argument
// naming the field of the cases, or the policy and what is wrong with it.
std::vector<CaseResult> run_policy_cases(const std::filesystem::path& cases,
                                         const WordsOf& words_of);

}  // namespace server
