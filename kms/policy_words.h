// The words that policies of both daemons may use, for checking policies without either.
#pragma once

#include <string_view>

#include "server/policy_words.h"

namespace kms {

// None for an unknown daemon.
server::PolicyWords policy_words(std::string_view daemon);

}  // namespace kms
