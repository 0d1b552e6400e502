// put. The secret comes from a file or from standard input.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "vault/record.h"
#include "vault/vaultctl.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t max_secret_file_bytes = 128UL * 1024;

struct PutOptions {
    std::string owner, name;
    std::string secret_file = standard_stream;
    std::string metadata_file;
    std::vector<std::string> metadata;
    std::string expires_at;
    std::optional<std::uint64_t> if_version;
};

// An open file, or standard input, which stays open.
class Input {
public:
    explicit Input(const std::string& path)
        : descriptor_(path == standard_stream ? STDIN_FILENO
                                              : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
        if (descriptor_ < 0) {
            throw UsageError(path + ": can't be opened: " + std::strerror(errno));
        }
    }
    ~Input() {
        if (descriptor_ != STDIN_FILENO) ::close(descriptor_);
    }
    Input(const Input&) = delete;
    Input& operator=(const Input&) = delete;
    int descriptor() const { return descriptor_; }

private:
    int descriptor_;
};

// Straight into wiped memory: no stream buffer keeps a copy.
base::WipedString read_secret_text(const std::string& path) {
    const Input input(path);
    if (::isatty(input.descriptor()) != 0) explain("type the secret as JSON, then Ctrl-D");
    base::WipedString text(max_secret_file_bytes + 1, '\0');
    std::size_t size = 0;
    while (size < text.size()) {
        const ssize_t got = ::read(input.descriptor(), text.data() + size, text.size() - size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) throw UsageError("the secret can't be read: " + std::string(strerror(errno)));
        if (got == 0) break;
        size += static_cast<std::size_t>(got);
    }
    if (size > max_secret_file_bytes) {
        throw UsageError("the secret is larger than " + std::to_string(max_secret_file_bytes) +
                         " bytes");
    }
    text.resize(size);
    return text;
}

base::JsonValue parse_object(std::string_view text, const std::string& what) {
    try {
        auto value = base::parse_json(text, {.bytes = max_secret_file_bytes, .depth = 15});
        if (value.object() != nullptr) return value;
    } catch (const Error& error) {
        throw UsageError(what + ": " + error.message());
    }
    throw UsageError(what + " must be a JSON object");
}

void write_pairs(base::JsonWriter& body, const std::vector<std::string>& pairs) {
    body.name("metadata").begin_object();
    for (const std::string& pair : pairs) {
        const auto equals = pair.find('=');
        if (equals == std::string::npos || equals == 0) {
            throw UsageError("--meta takes name=value, not \"" + pair + "\"");
        }
        body.field(pair.substr(0, equals), pair.substr(equals + 1));
    }
    body.end_object();
}

base::WipedString put_body(const PutOptions& options) {
    base::JsonWriter body;
    body.begin_object();
    if (!options.metadata_file.empty()) {
        const std::string text = base::read_file(options.metadata_file, max_secret_file_bytes);
        body.name("metadata").value(parse_object(text, options.metadata_file));
    }
    if (!options.metadata.empty()) write_pairs(body, options.metadata);
    if (!options.expires_at.empty()) body.field("expires_at", options.expires_at);
    if (options.if_version) body.field("if_version", *options.if_version);
    const auto secret = read_secret_text(options.secret_file);
    body.name("secret").value(parse_object(secret, "the secret"));
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
    command->add_option("--secret-file", options->secret_file, "A JSON object, - is standard input")
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
    command->add_option("--expires-at", options->expires_at, "e.g. 2030-01-31T12:00:00Z")
        ->type_name("TIME");
    command
        ->add_option("--if-version", options->if_version,
                     "Only if this is the current version; 0: only if there is none")
        ->type_name("N");
    command->footer(
        "Without metadata, what is there stays. Example:\n"
        "  vaultctl put acme instagram --secret-file token.json --meta account=17841");
    command->callback(
        [&tool, options] { tool.command = [&tool, options] { return put(tool, *options); }; });
}

}  // namespace vault
