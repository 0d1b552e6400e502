// What a process that will hold secrets does to itself before it reads the first one. Called by the
// programs' main only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"

namespace server {

// Core dumps off (RLIMIT_CORE 0), not dumpable (no ptrace, no /proc/PID/mem for the same user),
// no new privileges; locks memory where the limit allows and says in the log when it doesn't.
// Throws unavailable when the kernel refuses what must hold.
void harden_process(base::Log& log);

// Throws failed_precondition when the effective user is root.
void refuse_root();

// Throws failed_precondition naming (never quoting) an environment variable whose name says that it
// holds a secret and that is not empty: a word KEY or PIN in it, a word that ends in PASSWORD,
// PASSWD, PASSPHRASE, APIKEY or SECRET, or PWD behind another word.
void refuse_secret_environment(const char* const* environment);

// The same for arguments: --pin, --password, --key and the like, with or without a value behind.
// Names of files (--key-file, --pin-file) pass.
void refuse_secret_arguments(const std::vector<std::string_view>& arguments);

}  // namespace server
