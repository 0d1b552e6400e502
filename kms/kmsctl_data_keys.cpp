// data-key create, unwrap, rewrap. Files hold base64, one data key a line, and behind it, where the
// keys have several, the context as a JSON object: what is wrapped may be seen by anybody, a
// plaintext goes to a file of mode 0600 or into a pipe, never to a terminal.
#include <CLI/CLI.hpp>
#include <optional>

#include "base/encoding.h"
#include "base/error.h"
#include "kms/kmsctl.h"

namespace kms {
namespace {

constexpr std::size_t max_input_bytes = 18432UL * 1024;  // as much as the service takes at a time
constexpr std::size_t max_line_context_bytes = 64UL * 1024;

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

struct RewrapOptions {
    std::vector<std::string> context;
    std::vector<std::string> to_context;
    bool without_context = false;
    std::string to_key;
    std::string in;
    std::string out = standard_stream;
};

void check_create(const DataKeyCreateOptions& options) {
    require_key_name(options.key);
    if (options.without_plaintext != options.plaintext_out.empty()) {
        throw UsageError(
            "say where the plaintext goes, --plaintext-out FILE, or --without-plaintext");
    }
    require_new_file(options.out);
    if (options.without_plaintext) return;
    require_secret_place(options.plaintext_out, "plaintext data keys");
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
        write_output(options.plaintext_out, plaintexts, private_mode);
    }
    write_output(options.out, tool.json ? wrapped_as_json(keys) : wrapped_as_lines(keys),
                 public_mode);
    return 0;
}

// `text` is a JSON object of texts; `place` names it in what is thrown.
EncryptionContext parse_line_context(std::string_view text, const std::string& place) {
    constexpr std::size_t most = 10'000;  // more than the service takes
    try {
        const base::JsonValue object = base::parse_json(text, {max_line_context_bytes, 2});
        EncryptionContext context;
        const auto* members = object.object();
        if (members == nullptr || members->size() > most)
            throw UsageError(place + ": the context is no JSON object");
        for (const auto& [name, value] : *members) {
            if (value.string() == nullptr)
                throw UsageError(place + ": the context holds texts only");
            context.emplace(std::string(name), std::string(*value.string()));
        }
        return context;
    } catch (const base::Error& error) {
        throw UsageError(place + ": the context: " + error.message());
    }
}

// Every line of the file: base64 of a wrapped data key, and its context unless that is `usual`.
std::vector<UnwrapItem> read_wrapped(const std::string& path, const EncryptionContext& usual) {
    const auto text = read_input(path, max_input_bytes);
    std::vector<UnwrapItem> keys;
    for (std::string_view rest = text; !rest.empty();) {
        const auto end = std::min(rest.find('\n'), rest.size());
        std::string_view line = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (line.ends_with('\r')) line.remove_suffix(1);
        const std::string place = path + ", line " + std::to_string(keys.size() + 1);
        const auto blank = std::min(line.find(' '), line.size());
        auto wrapped = base::parse_base64(line.substr(0, blank));
        if (!wrapped || wrapped->empty())
            throw UsageError(place + ": is not the base64 of a wrapped data key");
        keys.push_back(
            {std::move(*wrapped),
             blank == line.size() ? usual : parse_line_context(line.substr(blank + 1), place)});
    }
    if (keys.empty()) throw UsageError(path + " holds no wrapped data key");
    return keys;
}

// All or nothing: a file with a gap would put every later line in the wrong place.
template <typename Result>
void require_all(const std::vector<Result>& results, const std::string& path) {
    for (std::size_t i = 0; i < results.size(); ++i) {
        if (const auto* error = std::get_if<base::Error>(&results[i])) {
            throw base::Error(error->code(),
                              path + ", line " + std::to_string(i + 1) + ": " + error->message());
        }
    }
}

int unwrap_data_keys(const Tool& tool, const UnwrapOptions& options) {
    require_secret_place(options.plaintext_out, "plaintext data keys");
    const auto context = parse_pairs(options.context, "--context");
    const auto items = read_wrapped(options.in, context);
    const auto results = tool.client().unwrap_many(items);
    require_all(results, options.in);
    base::WipedString plaintexts;
    for (const auto& result : results) {
        base::append_base64(plaintexts, std::get<base::SecretBytes>(result).expose());
        plaintexts += '\n';
    }
    write_output(options.plaintext_out, plaintexts, private_mode);
    return 0;
}

// As the service answers.
base::WipedString rewrapped_as_json(const std::vector<RewrapResult>& results) {
    base::JsonWriter out;
    out.begin_object().name("results").begin_array();
    for (const auto& result : results) {
        const auto& anew = std::get<Enveloped>(result);
        out.begin_object().name("wrapped").base64(anew.bytes);
        out.field("key_id", anew.key_id.to_string()).field("key_version", anew.key_version);
        out.end_object();
    }
    out.end_array().end_object();
    return out.take();
}

int rewrap_data_keys(const Tool& tool, const RewrapOptions& options) {
    require_new_file(options.out);
    if (!options.to_key.empty()) require_key_name(options.to_key);
    if (options.without_context && !options.to_context.empty())
        throw UsageError("--to-context and --without-context exclude each other");
    const auto context = parse_pairs(options.context, "--context");
    std::optional<EncryptionContext> to_context;
    if (options.without_context || !options.to_context.empty())
        to_context = parse_pairs(options.to_context, "--to-context");
    std::vector<RewrapItem> items;
    for (auto& item : read_wrapped(options.in, context)) {
        items.push_back(
            {std::move(item.wrapped), std::move(item.context), options.to_key, to_context});
    }
    const auto results = tool.client().rewrap_many(items);
    require_all(results, options.in);
    if (tool.json) {
        write_output(options.out, rewrapped_as_json(results), public_mode);
        return 0;
    }
    base::WipedString lines;
    for (const auto& result : results) {
        base::append_base64(lines, std::get<Enveloped>(result).bytes);
        lines += '\n';
    }
    write_output(options.out, lines, public_mode);
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
    create->add_option("--count", options->count, "How many, 1 to 1000")
        ->check(CLI::Range(1, 1000))
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
    unwrap->add_option("--in", options->in, "Wrapped data keys, base64, one a line, at most 1000")
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
        "acme.plain\n"
        "A line may have a context of its own behind the data key: BASE64 "
        "{\"owner\":\"acme\"}");
    unwrap->callback([&tool, options] {
        tool.command = [&tool, options] { return unwrap_data_keys(tool, *options); };
    });
}

void add_rewrap(CLI::App& family, Tool& tool) {
    auto options = std::make_shared<RewrapOptions>();
    CLI::App* rewrap = family.add_subcommand(
        "rewrap", "Wrap data keys anew: under the primary version, another key or context");
    add_context(*rewrap, options->context);
    rewrap->add_option("--in", options->in, "Wrapped data keys, base64, one a line, at most 1000")
        ->required()
        ->type_name("FILE");
    rewrap->add_option("--out", options->out, "For the new wrapped data keys, - is standard output")
        ->type_name("FILE")
        ->capture_default_str();
    rewrap->add_option("--to", options->to_key, "Another master key than the one they have")
        ->type_name("KEY");
    rewrap
        ->add_option("--to-context", options->to_context,
                     "Another context than the one they have; may be given more than once")
        ->type_name("NAME=VALUE")
        ->take_all()
        ->allow_extra_args(false);
    rewrap->add_flag("--without-context", options->without_context, "Bind them to no context");
    rewrap->footer(
        "The plaintext data keys never leave the service. Example:\n"
        "  kmsctl data-key rewrap --context owner=acme --in acme.wrapped --out acme.rewrapped\n"
        "A line may have a context of its own behind the data key: BASE64 "
        "{\"owner\":\"acme\"}");
    rewrap->callback([&tool, options] {
        tool.command = [&tool, options] { return rewrap_data_keys(tool, *options); };
    });
}

}  // namespace

void add_data_key_commands(CLI::App& app, Tool& tool) {
    CLI::App* family = app.add_subcommand("data-key", "Data keys: create, unwrap, rewrap");
    family->require_subcommand(1);
    add_data_key_create(*family, tool);
    add_unwrap(*family, tool);
    add_rewrap(*family, tool);
}

}  // namespace kms
