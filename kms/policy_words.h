// The words that policies of both daemons may use, for checking policies without either.
#pragma once

#include <string_view>
#include <vector>

namespace kms {

// Empty for an unknown daemon.
std::vector<std::string_view> policy_words(std::string_view daemon);

}  // namespace kms
