// What it takes to open a token. Plain data, filled by a program's main from its configuration.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/log.h"
#include "base/secret_bytes.h"
#include "hsm/token.h"

namespace hsm {

// How long between two attempts to bring a token back.
struct RecoveryPauses {
    std::chrono::milliseconds initialise{500};  // of its module, by whatever cause
    std::chrono::milliseconds probe{1000};      // while it is gone and calls are refused
};

struct TokenConfig {
    std::filesystem::path module;  // the PKCS#11 library, e.g. /usr/lib/softhsm/libsofthsm2.so
    std::string uri;               // RFC 7512: token=… and, better, serial=…; never a PIN in it
    std::string init_string;  // C_Initialize pReserved, for modules that need one (NSS); else empty
    std::size_t max_sessions = 16;  // our own cap; beyond it a caller waits, then unavailable
    std::chrono::milliseconds session_patience{2000};  // how long it waits
    // How long a large batch waits for the end of another one, on SoftHSM.
    std::chrono::milliseconds turn_patience{100};
    // How long a caller waits for one use of a key, zero: for ever; a batch has more, and so has
    // what makes, destroys or lists keys. For a module in a process that must live on when a call
    // hangs: each call then runs on a thread beside its caller. With as many hung calls as
    // max_hung_calls every call is unavailable at once.
    std::chrono::milliseconds call_deadline{0};
    std::size_t max_hung_calls = 4;
    RecoveryPauses recovery{};
    // SoftHSM only: its configuration file (SOFTHSM2_CONF); empty: what the process environment or
    // the system default says.
    std::filesystem::path softhsm_config;
    // The program that reads a new key back from a process of its own (hsm/readback.cpp). Empty:
    // new keys are not read back by a second process; allowed for tests only.
    std::filesystem::path readback_program;
    // Called after each login at the token but the first, on the thread that needed it; must not
    // block nor throw. Empty: nobody wants to know.
    std::function<void()> logged_in_again{};
    // Called, with the reason, each time it shows that nothing in this process can bring the token
    // back: a call hangs in the module, or it refuses to be initialised again and again. On the
    // thread that found it; must not throw. A process that holds nothing but the token ends then,
    // and is replaced. Empty: it is logged only.
    std::function<void(std::string_view why)> beyond_repair{};
};

// Loads the module, finds the one token that the URI names, logs in once, runs the SoftHSM guards
// and a known-answer round trip of each mechanism needed. Throws failed_precondition, with a
// message for the operator that says which of these is wrong and what to do: module missing, token
// missing (it is never initialised here), more than one token, PIN wrong (one attempt only) or
// locked, mechanism missing. `log` must outlive the token.
std::unique_ptr<Token> open_token(const TokenConfig& config, const base::SecretBytes& pin,
                                  base::Log& log);

// What it takes to have the token in a process of its own.
struct WorkerConfig {
    TokenConfig token;
    std::filesystem::path program;   // strongroom-token-worker (kms/token_worker.cpp)
    std::filesystem::path pin_file;  // the worker reads it by itself, each time one is started
    base::LogLevel log_level = base::LogLevel::info;
    // A call that takes longer costs its worker the life; what searches or makes keys has more.
    std::chrono::milliseconds deadline{2000};
    // How often a worker to which nobody talks is asked whether its token answers; one that does
    // not within `deadline` is replaced.
    std::chrono::milliseconds heartbeat{1000};
};

// The same token, opened by a worker: the module is never in this process, nor is the PIN when
// `pin_file` names it. With an empty one `pin` is what a person typed; it is kept masked for the
// workers to come. A second worker stands by, logged in as well. When a call is not answered in
// time or a worker ends, the one that stands by takes its place, and a new one is started. A key
// proves that it is the same before a new worker first uses it. Throws what open_token() throws,
// and failed_precondition when the program is not there or of another version. `log` must outlive
// the token.
std::unique_ptr<Token> open_remote_token(const WorkerConfig& config, const base::SecretBytes& pin,
                                         base::Log& log);

}  // namespace hsm
