// kmsctl: governs master keys, makes and opens data keys, signs, lists what there is, asks how the
// service is.
#include "kms/kmsctl.h"

#include <CLI/CLI.hpp>

#include "base/uuid.h"
#include "kms/tool/program.h"

namespace kms {

void require_key_name(const std::string& key) {
    constexpr std::string_view alias = "alias/";
    const bool is_alias = key.starts_with(alias) && key.size() > alias.size();
    if (is_alias || base::Uuid::parse(key)) return;
    throw UsageError("KEY is a key id (a UUID) or alias/<name>, not \"" + key + "\"");
}

namespace {

constexpr const char* description =
    "The operator's tool of the key service (kmsd).\n\n"
    "Where the service is and who asks comes from --url, --ca, --certificate and --key-file, or "
    "from\n~/.config/strongroom/kmsctl.json:\n"
    "  {\"url\": \"https://127.0.0.1:7443\", \"ca\": \"ca.crt\", \"certificate\": "
    "\"operator.crt\", \"key\": \"operator.key\",\n"
    "   \"witness\": {\"file\": \"audit-checkpoints\", \"audit_key\": \"audit.pem\"}}\n"
    "With \"witness\" (or --witness, --audit-key-file) the last checkpoint seen of the service's "
    "audit log is kept, and\neach later one must be proven to extend it; \"nodes\" says how many "
    "nodes, each with a log, are behind that url.";

constexpr const char* footer =
    "Examples:\n"
    "  kmsctl key create --alias credentials --tag team=payments\n"
    "  kmsctl key list\n"
    "  kmsctl key show alias/credentials\n"
    "  kmsctl key rotate alias/credentials\n"
    "  kmsctl data-key create alias/credentials --context owner=acme --without-plaintext\n"
    "  kmsctl sign alias/releases --in release.tar --out release.sig\n"
    "  kmsctl inventory --format cyclonedx --out cbom.json\n"
    "  kmsctl policy explain kms.json --caller spiffe://strongroom/app --action encrypt "
    "--resource key:k1\n"
    "  kmsctl status\n\n"
    "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the service can't be reached or is "
    "not ready,\n"
    "5 the service's audit log contradicts what was seen of it before; see FILE.conflict.\n"
    "\"audit verify\" has 2, 3 and 4 for its verdicts, and 1 for all that is none.";

constexpr ToolWords tool_words{
    "kmsctl", "the key service",  "https://127.0.0.1:7443", description, footer,
    30,       make_kmsctl_witness};

void add_commands(CLI::App& app, Tool& tool, const ToolSettings& settings) {
    tool.remembers_orders = true;
    add_key_commands(app, tool);
    add_alias_commands(app, tool);
    add_data_key_commands(app, tool);
    add_text_commands(app, tool);
    add_signing_commands(app, tool);
    add_inventory_command(app, tool, settings);
    add_backup_commands(app, tool, {"kmsd", "; the token is backed up by its own means"});
    add_service_commands(app, tool);
    add_token_commands(app, tool);
    add_shared_secret_commands(app, tool);
    add_audit_commands(app, tool);
    add_budget_commands(app, tool);
    add_policy_commands(app, tool);
}

}  // namespace
}  // namespace kms

int main(int count, char** arguments) {
    return kms::run_tool_program(kms::tool_words, count, arguments, kms::add_commands);
}
