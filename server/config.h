// Configuration that both daemons share: strict JSON with comments, unknown keys refused, no secret
// in it, only where to read one. Relative paths are taken from the configuration file's folder.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "base/json.h"
#include "base/log.h"
#include "base/secret_bytes.h"
#include "server/audit.h"
#include "server/edge.h"
#include "server/gate.h"
#include "server/policy.h"

namespace server {

// The parsed file. Throws invalid_argument naming the file.
base::JsonValue read_config_file(const std::filesystem::path& file);

// A path field, made absolute against `folder`.
std::filesystem::path required_path(base::JsonReader& reader, std::string_view name,
                                    const std::filesystem::path& folder);

// "listen" and "tls" of a daemon's file; see deploy/examples/kmsd.json.
EdgeConfig read_edge_config(base::JsonReader& top, const std::filesystem::path& folder);
// "metrics" {"address", "port" | "mode"}, which may be absent: see server/metrics_listener.h.
std::optional<EdgeConfig> read_metrics_config(base::JsonReader& top,
                                              const std::filesystem::path& folder);
// "audit" {"directory", "node", "segments" {"mebibytes", "days"}, "checkpoints" {"records",
// "seconds", "copy_directory", "keep_days"}}; all but the directory may be absent. Without
// "checkpoints" the log is not sealed. A daemon whose log is signed by somebody else reads which
// key that is to be from a field of "checkpoints"; for the others such a field is an unknown one.
using SigningKeyReader = std::function<std::string(base::JsonReader& checkpoints)>;
AuditConfig read_audit_config(base::JsonReader& top, const std::filesystem::path& folder,
                              std::string daemon, const SigningKeyReader& read_signing_key = {});
// "workers" {"count", "max_queued"}, which may be absent.
GateConfig read_gate_config(base::JsonReader& top);
// "policy" {"file", "shadow"}; the shadow policy may be absent.
PolicyFiles read_policy_files(base::JsonReader& top, const std::filesystem::path& folder);
// "budgets" {"file"}; empty when absent: nobody has a budget.
std::filesystem::path read_budgets_path(base::JsonReader& top, const std::filesystem::path& folder);
// "log" {"level"}: debug, info (when absent), warning or error.
base::LogLevel read_log_level(base::JsonReader& top);

// Where a secret is to be read: {"file": path} | {"credential": name} (systemd) | {"prompt": true}.
// Throws invalid_argument naming the field.
struct SecretSource {
    std::filesystem::path file;  // a credential is one too; empty: a person is to be asked
    std::string prompt;          // for what
};
SecretSource read_secret_source(base::JsonReader& top, std::string_view name,
                                const std::filesystem::path& folder);
// The same, and reads it. Throws invalid_argument naming the field or the file.
base::SecretBytes read_secret(base::JsonReader& top, std::string_view name,
                              const std::filesystem::path& folder);

}  // namespace server
