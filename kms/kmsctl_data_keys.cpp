// data-key create, unwrap. Files hold base64, one data key a line: what is wrapped may be seen by
// anybody, a plaintext goes to a file of mode 0600 or into a pipe, never to a terminal.
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "kms/kmsctl.h"

namespace kms {
namespace {

constexpr std::size_t max_input_bytes = 256UL * 1024;
constexpr unsigned private_mode = 0600;
constexpr unsigned public_mode = 0644;
constexpr const char* standard_stream = "-";

struct DataKeyCreateOptions {
    std::string key;
    std::vector<std::string> context;
    std::size_t count = 1;
    std::size_t bytes = 32;
    bool without_plaintext = false;
    std::string out = standard_stream;
    std::string plaintext_out;
};

struct UnwrapOptions {
    std::vector<std::string> context;
    std::string in;
    std::string plaintext_out;
};

// Before the service is asked: what it makes could not be kept otherwise.
void require_new_file(const std::string& path) {
    std::error_code ignored;
    if (path != standard_stream && std::filesystem::exists(path, ignored)) {
        throw UsageError(path + " exists already; name a new file");
    }
}

void require_plaintext_place(const std::string& path) {
    if (path == standard_stream && ::isatty(STDOUT_FILENO) != 0) {
        throw UsageError("a plaintext data key is not shown on a terminal; name a file");
    }
    require_new_file(path);
}

void write_out(const std::string& path, std::string_view text, unsigned mode) {
    if (path == standard_stream) return print(text);
    base::write_file_durably(path, text, mode);
}

void check_create(const DataKeyCreateOptions& options) {
    require_key_name(options.key);
    if (options.without_plaintext != options.plaintext_out.empty()) {
        throw UsageError(
            "say where the plaintext goes, --plaintext-out FILE, or --without-plaintext");
    }
    require_new_file(options.out);
    if (options.without_plaintext) return;
    require_plaintext_place(options.plaintext_out);
    if (options.plaintext_out == options.out) {
        throw UsageError("--out and --plaintext-out must be two places");
    }
}

// As the service answers, without the plaintexts.
base::WipedString wrapped_as_json(const std::vector<DataKey>& keys) {
    base::JsonWriter out;
    out.begin_object().field("key_id", keys.front().key_id.to_string());
    out.field("key_version", keys.front().key_version).name("data_keys").begin_array();
    for (const DataKey& key : keys) {
        out.begin_object().name("wrapped").base64(key.wrapped).end_object();
    }
    out.end_array().end_object();
    return out.take();
}

base::WipedString wrapped_as_lines(const std::vector<DataKey>& keys) {
    base::WipedString lines;
    for (const DataKey& key : keys) {
        base::append_base64(lines, key.wrapped);
        lines += '\n';
    }
    return lines;
}

int create_data_keys(const Tool& tool, const DataKeyCreateOptions& options) {
    check_create(options);
    const auto context = parse_pairs(options.context, "--context");
    const auto keys = tool.client().create_data_keys(options.key, context, options.bytes,
                                                     options.count, !options.without_plaintext);
    if (!options.without_plaintext) {
        base::WipedString plaintexts;
        for (const DataKey& key : keys) {
            base::append_base64(plaintexts, key.plaintext.expose());
            plaintexts += '\n';
        }
        write_out(options.plaintext_out, plaintexts, private_mode);
    }
    write_out(options.out, tool.json ? wrapped_as_json(keys) : wrapped_as_lines(keys), public_mode);
    return 0;
}

std::vector<UnwrapItem> read_items(const UnwrapOptions& options) {
    const auto context = parse_pairs(options.context, "--context");
    const std::string text = base::read_file(options.in, max_input_bytes);
    std::vector<UnwrapItem> items;
    for (std::string_view rest = text; !rest.empty();) {
        const auto end = std::min(rest.find('\n'), rest.size());
        std::string_view line = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (line.ends_with('\r')) line.remove_suffix(1);
        auto wrapped = base::parse_base64(line);
        if (!wrapped || wrapped->empty()) {
            throw UsageError(options.in + ", line " + std::to_string(items.size() + 1) +
                             ": is not the base64 of a wrapped data key");
        }
        items.push_back({std::move(*wrapped), context});
    }
    if (items.empty()) throw UsageError(options.in + " holds no wrapped data key");
    return items;
}

int unwrap_data_keys(const Tool& tool, const UnwrapOptions& options) {
    require_plaintext_place(options.plaintext_out);
    const auto items = read_items(options);
    const auto results = tool.client().unwrap_many(items);
    base::WipedString plaintexts;
    for (std::size_t i = 0; i < results.size(); ++i) {
        // All or nothing: a file with a gap would put every later line in the wrong place.
        if (const auto* error = std::get_if<base::Error>(&results[i])) {
            throw base::Error(error->code(), options.in + ", line " + std::to_string(i + 1) + ": " +
                                                 error->message());
        }
        base::append_base64(plaintexts, std::get<base::SecretBytes>(results[i]).expose());
        plaintexts += '\n';
    }
    write_out(options.plaintext_out, plaintexts, private_mode);
    return 0;
}

CLI::Option* add_context(CLI::App& command, std::vector<std::string>& context) {
    return command
        .add_option("--context", context,
                    "Encryption context: bound to the data key, needed again to unwrap; may be "
                    "given more than once")
        ->type_name("NAME=VALUE")
        ->take_all()
        ->allow_extra_args(false);
}

void add_data_key_create(CLI::App& family, Tool& tool) {
    auto options = std::make_shared<DataKeyCreateOptions>();
    CLI::App* create = family.add_subcommand("create", "Make data keys under a master key");
    create->add_option("KEY", options->key, "Key id, or alias/NAME")->required();
    add_context(*create, options->context);
    create->add_option("--count", options->count, "How many, 1 to 100")
        ->check(CLI::Range(1, 100))
        ->type_name("N")
        ->capture_default_str();
    create->add_option("--bytes", options->bytes, "Length of each, 16 to 64")
        ->check(CLI::Range(16, 64))
        ->type_name("N")
        ->capture_default_str();
    create->add_option("--out", options->out, "For the wrapped data keys, - is standard output")
        ->type_name("FILE")
        ->capture_default_str();
    create
        ->add_option("--plaintext-out", options->plaintext_out,
                     "For the plaintext data keys: a new file of mode 0600, or - for a pipe")
        ->type_name("FILE");
    create->add_flag("--without-plaintext", options->without_plaintext,
                     "Make the wrapped form only");
    create->footer(
        "Files hold base64, one data key a line. Example:\n"
        "  kmsctl data-key create alias/credentials --context owner=acme \\\n"
        "      --out acme.wrapped --plaintext-out acme.plain");
    create->callback([&tool, options] {
        tool.command = [&tool, options] { return create_data_keys(tool, *options); };
    });
}

void add_unwrap(CLI::App& family, Tool& tool) {
    auto options = std::make_shared<UnwrapOptions>();
    CLI::App* unwrap = family.add_subcommand("unwrap", "Open wrapped data keys");
    add_context(*unwrap, options->context);
    unwrap->add_option("--in", options->in, "Wrapped data keys, base64, one a line, at most 100")
        ->required()
        ->type_name("FILE");
    unwrap
        ->add_option("--plaintext-out", options->plaintext_out,
                     "A new file of mode 0600, or - for a pipe")
        ->required()
        ->type_name("FILE");
    unwrap->footer(
        "Example:\n"
        "  kmsctl data-key unwrap --context owner=acme --in acme.wrapped --plaintext-out "
        "acme.plain");
    unwrap->callback([&tool, options] {
        tool.command = [&tool, options] { return unwrap_data_keys(tool, *options); };
    });
}

}  // namespace

void add_data_key_commands(CLI::App& app, Tool& tool) {
    CLI::App* family = app.add_subcommand("data-key", "Data keys: create, unwrap");
    family->require_subcommand(1);
    add_data_key_create(*family, tool);
    add_unwrap(*family, tool);
}

}  // namespace kms
