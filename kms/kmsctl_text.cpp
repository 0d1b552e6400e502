// encrypt, decrypt: texts of up to 4096 bytes, in the token. A ciphertext is one line of base64; a
// plaintext goes to a file of mode 0600 or into a pipe, never to a terminal.
#include <CLI/CLI.hpp>

#include "base/encoding.h"
#include "kms/kmsctl.h"

namespace kms {
namespace {

constexpr std::size_t max_plaintext_bytes = 4096;
constexpr std::size_t max_ciphertext_bytes = 16UL * 1024;  // in base64, with room to spare

struct EncryptOptions {
    std::string key;
    std::vector<std::string> context;
    std::string in = standard_stream;
    std::string out = standard_stream;
};

struct DecryptOptions {
    std::vector<std::string> context;
    std::string in = standard_stream;
    std::string plaintext_out;
};

int encrypt_text(const Tool& tool, const EncryptOptions& options) {
    require_key_name(options.key);
    require_new_file(options.out);
    const auto context = parse_pairs(options.context, "--context");
    const auto plaintext = read_input(options.in, max_plaintext_bytes);
    if (plaintext.empty()) throw UsageError("there is nothing to encrypt");
    const Enveloped made = tool.client().encrypt(options.key, base::as_bytes(plaintext), context);
    base::WipedString text;
    if (tool.json) {
        base::JsonWriter out;
        out.begin_object().name("ciphertext").base64(made.bytes);
        out.field("key_id", made.key_id.to_string()).field("key_version", made.key_version);
        text = out.end_object().take();
    } else {
        base::append_base64(text, made.bytes);
        text += '\n';
    }
    write_output(options.out, text, public_mode);
    return 0;
}

int decrypt_text(const Tool& tool, const DecryptOptions& options) {
    require_secret_place(options.plaintext_out, "plaintexts");
    const auto context = parse_pairs(options.context, "--context");
    const auto text = read_input(options.in, max_ciphertext_bytes);
    std::string_view line = text;
    while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
    const auto ciphertext = base::parse_base64(line);
    if (!ciphertext || ciphertext->empty()) throw UsageError("the ciphertext is not base64");
    const base::SecretBytes plaintext = tool.client().decrypt(*ciphertext, context);
    write_output_bytes(options.plaintext_out, plaintext.expose_text(), private_mode);
    return 0;
}

void add_text_context(CLI::App& command, std::vector<std::string>& context) {
    command
        .add_option("--context", context,
                    "Encryption context: bound to the ciphertext, needed again to decrypt; may be "
                    "given more than once")
        ->type_name("NAME=VALUE")
        ->take_all()
        ->allow_extra_args(false);
}

}  // namespace

void add_text_commands(CLI::App& app, Tool& tool) {
    auto to_encrypt = std::make_shared<EncryptOptions>();
    CLI::App* encrypt =
        app.add_subcommand("encrypt", "Encrypt up to 4096 bytes under a master key, in the token");
    encrypt->add_option("KEY", to_encrypt->key, "Key id, or alias/NAME")->required();
    add_text_context(*encrypt, to_encrypt->context);
    encrypt->add_option("--in", to_encrypt->in, "What to encrypt, - is standard input")
        ->type_name("FILE")
        ->capture_default_str();
    encrypt->add_option("--out", to_encrypt->out, "For the ciphertext, base64")
        ->type_name("FILE")
        ->capture_default_str();
    encrypt->footer(
        "Example:\n  kmsctl encrypt alias/applications --context app=shop < secret.txt");
    encrypt->callback([&tool, to_encrypt] {
        tool.command = [&tool, to_encrypt] { return encrypt_text(tool, *to_encrypt); };
    });

    auto to_decrypt = std::make_shared<DecryptOptions>();
    CLI::App* decrypt = app.add_subcommand("decrypt", "Decrypt what encrypt made");
    add_text_context(*decrypt, to_decrypt->context);
    decrypt->add_option("--in", to_decrypt->in, "The ciphertext, base64, - is standard input")
        ->type_name("FILE")
        ->capture_default_str();
    decrypt
        ->add_option("--plaintext-out", to_decrypt->plaintext_out,
                     "A new file of mode 0600, or - for a pipe")
        ->required()
        ->type_name("FILE");
    decrypt->callback([&tool, to_decrypt] {
        tool.command = [&tool, to_decrypt] { return decrypt_text(tool, *to_decrypt); };
    });
}

}  // namespace kms
