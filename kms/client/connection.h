// How a command line tool says where its service is and who asks: options, or a small file. For
// kmsctl and vaultctl. No command line library in here.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "kms/client/client.h"

namespace kms {

// As given on the command line; what was not given is empty.
struct ConnectionOptions {
    std::string url;
    std::string socket;  // may stay empty: then TCP
    std::string ca;
    std::string certificate;
    std::string key_file;
    std::string bearer_file;
    std::string witness_file;
    std::string audit_key_file;
    std::string config;
    std::size_t witness_nodes = 0;  // from the file only
};

// What a tool keeps of the service's audit log, to notice one that was set back or forked:
// kms/witness.
struct WitnessFiles {
    std::filesystem::path file;       // empty: nothing is kept
    std::filesystem::path audit_key;  // the service's audit.pem; empty: TLS must do
    std::size_t nodes = 0;            // behind the url, each with a log of its own; 0: one
};

struct Connection {
    ClientConfig client;
    WitnessFiles witness;
};

// Options first, and for what they leave open the configuration file:
//     {"url": "https://127.0.0.1:7443", "ca": …, "certificate": …, "key": …}     ("//" comments
//     allowed; "socket": path of a UNIX socket to go through)
// with "bearer_file" (an API token) beside or instead of "certificate" and "key", and
//     "witness": {"file": …, "audit_key": …, "nodes": …}
// which is options.config, or else `default_file` when it exists. Relative paths in the file are
// taken from the file's folder. The file's witness is of the file's service: none of its members
// count where the options name another url. Throws invalid_argument saying what is missing or
// wrong.
Connection read_connection(const ConnectionOptions& options,
                           const std::filesystem::path& default_file);

// $HOME/.config/strongroom/<tool>.json; empty when `home` is null or empty.
std::filesystem::path default_connection_file(const char* home, std::string_view tool);

// The variables of `environment` that are ours by their name (STRONGROOM_, KMS_, VAULT_, KMSCTL_,
// VAULTCTL_), with a null at the end: what a tool may rightly complain about. Views into
// `environment`.
std::vector<const char*> own_environment(const char* const* environment);

// What a tool ends with: 0 done, and these.
inline constexpr int exit_failed = 1;  // refused or failed
inline constexpr int exit_usage = 2;
inline constexpr int exit_unavailable = 3;
inline constexpr int exit_contradicted = 5;  // the service's audit log contradicts what was seen
int exit_code(const base::Error& error) noexcept;

}  // namespace kms
