// API tokens as the command line tools (kmsctl, vaultctl) handle them, the same with both services.
// No command line library in here: that belongs to the programs.
#pragma once

#include <string>
#include <vector>

#include "kms/client/tool.h"

namespace kms {

struct NewToken {
    std::string name;
    std::vector<std::string> claims;  // "name=value"; a name may stand several times
    int days = 0;                     // until it expires; 0: the service's longest time
    std::string out = standard_stream;
};

// Each returns the exit code; they throw UsageError, and as Client::call.

// Makes a token and writes it to `out`, a new file of mode 0600, or shows it on standard output: it
// can't be had again.
int create_token(const Tool& tool, const NewToken& wanted);
int list_tokens(const Tool& tool);
int revoke_token(const Tool& tool, const std::string& id);

}  // namespace kms
