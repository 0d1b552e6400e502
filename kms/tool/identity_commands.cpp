// token create, list, revoke; shared-secret make, hash.
#include <CLI/CLI.hpp>

#include "kms/client/token_tool.h"
#include "kms/tool/program.h"
#include "server/shared_secret.h"

namespace kms {
namespace {

constexpr std::size_t max_secret_input_bytes = 2048;

struct SecretOptions {
    std::string in = standard_stream;
    std::string out;
};

// The hash goes to standard output: it is what the daemon's configuration needs.
int make_secret(const SecretOptions& options) {
    require_secret_place(options.out, "shared secrets");
    const base::SecretBytes secret = server::make_shared_secret();
    write_output(options.out, secret.expose_text(), private_mode);
    print(server::shared_secret_hash(secret.expose_text()));
    return 0;
}

int hash_secret(const SecretOptions& options) {
    base::WipedString secret = read_input(options.in, max_secret_input_bytes);
    while (secret.ends_with('\n') || secret.ends_with('\r')) secret.pop_back();
    print(server::shared_secret_hash(secret));
    return 0;
}

void add_create(CLI::App& family, Tool& tool) {
    auto options = std::make_shared<NewToken>();
    CLI::App* command = family.add_subcommand(
        "create", "Make an API token for the caller token:NAME; it is shown this once");
    command->add_option("NAME", options->name, "Of a-z, 0-9, '.', '-' and '_'")->required();
    command->add_option("--claim", options->claims, "name=value, for policies; may be repeated")
        ->type_name("NAME=VALUE")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    command
        ->add_option("--days", options->days, "Until it expires; else the service's longest time")
        ->check(CLI::Range(1, 3650))
        ->type_name("DAYS");
    command->add_option("--out", options->out, "A new file for it, mode 0600; else standard output")
        ->type_name("FILE");
    command->callback([&tool, options] {
        tool.command = [&tool, options] { return create_token(tool, *options); };
    });
}

}  // namespace

void add_token_commands(CLI::App& app, Tool& tool) {
    CLI::App* family = app.add_subcommand("token", "API tokens: create, list, revoke");
    family->require_subcommand(1);
    add_create(*family, tool);

    CLI::App* list = family->add_subcommand("list", "All API tokens, also those that are no more");
    list->callback([&tool] { tool.command = [&tool] { return list_tokens(tool); }; });

    auto id = std::make_shared<std::string>();
    CLI::App* revoke = family->add_subcommand("revoke", "End an API token, at once");
    revoke->add_option("ID", *id, "Its id, as the list shows it")->required();
    revoke->callback(
        [&tool, id] { tool.command = [&tool, id] { return revoke_token(tool, *id); }; });
}

void add_shared_secret_commands(CLI::App& app, Tool& tool) {
    CLI::App* family = app.add_subcommand(
        "shared-secret", "Secrets in a header, for servers that call: make one, or hash yours");
    family->require_subcommand(1);

    auto options = std::make_shared<SecretOptions>();
    CLI::App* make = family->add_subcommand(
        "make", "Write a new secret to a file and print its hash, for the configuration");
    make->add_option("--out", options->out, "A new file for the secret, mode 0600")
        ->type_name("FILE")
        ->required();
    make->callback(
        [&tool, options] { tool.command = [options] { return make_secret(*options); }; });

    CLI::App* hash =
        family->add_subcommand("hash", "Print the hash of a secret of 32 characters or more");
    hash->add_option("--in", options->in, "The file that holds it; else standard input")
        ->type_name("FILE");
    hash->callback(
        [&tool, options] { tool.command = [options] { return hash_secret(*options); }; });
}

}  // namespace kms
