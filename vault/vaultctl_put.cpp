// put. The secret comes from a file or from standard input.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "vault/record.h"
#include "vault/vaultctl.h"

namespace vault {
namespace {

using base::Error;

constexpr std::size_t max_secret_file_bytes = 128UL * 1024;

struct PutOptions {
    std::string owner, name;
    std::string secret_file = standard_stream;
    std::string metadata_file;
    std::vector<std::string> metadata, tags;
    bool without_tags = false;
    std::string expires_at;
    std::optional<std::uint64_t> if_version;
};

base::WipedString read_secret_text(const std::string& path) {
    if (path == standard_stream && ::isatty(STDIN_FILENO) != 0) {
        explain("type the secret as JSON, then Ctrl-D");
    }
    return kms::read_input(path, max_secret_file_bytes);
}

base::JsonValue parse(std::string_view text, const std::string& what) {
    try {
        return base::parse_json(text, {.bytes = max_secret_file_bytes, .depth = 15});
    } catch (const Error& error) {
        throw UsageError(what + ": " + error.message());
    }
}

base::WipedString put_body(const PutOptions& options) {
    base::JsonWriter body;
    body.begin_object();
    if (!options.metadata_file.empty()) {
        const std::string text = base::read_file(options.metadata_file, max_secret_file_bytes);
        const base::JsonValue metadata = parse(text, options.metadata_file);
        if (metadata.object() == nullptr)
            throw UsageError(options.metadata_file + " must be a JSON object");
        body.name("metadata").value(metadata);
    }
    if (!options.metadata.empty())
        body.field("metadata", kms::parse_pairs(options.metadata, "--meta"));
    if (!options.tags.empty() || options.without_tags)
        body.field("tags", kms::parse_pairs(options.tags, "--tag"));
    if (!options.expires_at.empty()) body.field("expires_at", options.expires_at);
    if (options.if_version) body.field("if_version", *options.if_version);
    const auto secret = read_secret_text(options.secret_file);
    body.name("secret").value(parse(secret, "the secret"));
    body.end_object();
    return body.take();
}

int put(const Tool& tool, const PutOptions& options) {
    const auto body = put_body(options);
    show_credential(tool,
                    tool.client().call("PUT", credential_path(options.owner, options.name), body));
    return 0;
}

}  // namespace

void add_put_command(CLI::App& app, Tool& tool) {
    auto options = std::make_shared<PutOptions>();
    CLI::App* command = app.add_subcommand("put", "Store a secret as a credential's next version");
    command->add_option("OWNER", options->owner, "Whose it is")->required();
    command->add_option("NAME", options->name, "The credential")->required();
    command
        ->add_option("--secret-file", options->secret_file, "JSON of any kind, - is standard input")
        ->type_name("FILE")
        ->capture_default_str();
    auto* file = command->add_option("--metadata-file", options->metadata_file,
                                     "A JSON object that is readable without the secret");
    file->type_name("FILE");
    command->add_option("--meta", options->metadata, "Metadata; may be given more than once")
        ->type_name("NAME=VALUE")
        ->take_all()
        ->allow_extra_args(false)
        ->excludes(file);
    auto* tags = command->add_option("--tag", options->tags,
                                     "All tags it shall have; may be given more than once");
    tags->type_name("NAME=VALUE")->take_all()->allow_extra_args(false);
    command->add_flag("--without-tags", options->without_tags, "It shall have no tags")
        ->excludes(tags);
    command->add_option("--expires-at", options->expires_at, "e.g. 2030-01-31T12:00:00Z")
        ->type_name("TIME");
    command
        ->add_option("--if-version", options->if_version,
                     "Only if this is the current version; 0: only if there is none")
        ->type_name("N");
    command->footer(
        "Without metadata or tags, what is there stays. Example:\n"
        "  vaultctl put acme instagram --secret-file token.json --meta account=17841");
    command->callback(
        [&tool, options] { tool.command = [&tool, options] { return put(tool, *options); }; });
}

}  // namespace vault
