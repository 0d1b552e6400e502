// sign, verify, mac, verify-mac, public-key. Signatures are files of bytes, as openssl takes them,
// or base64 with --base64.
#include <CLI/CLI.hpp>
#include <optional>

#include "base/encoding.h"
#include "kms/kmsctl.h"

namespace kms {
namespace {

using base::JsonValue;

constexpr std::size_t max_signed_bytes = 64UL * 1024;
constexpr std::size_t max_proof_file_bytes = 4096;

// A signature and a MAC differ in names only.
struct Proof {
    const char* command;
    const char* verify_command;
    const char* member;  // of body and answer, and the path's last segment is the command
    const char* words;
};
constexpr Proof signature{"sign", "verify", "signature", "signature"};
constexpr Proof mac{"mac", "verify-mac", "mac", "MAC"};

struct ProofOptions {
    std::string key;
    std::string in = standard_stream;
    std::string out = standard_stream;
    std::string proof;
    bool base64 = false;
    std::optional<std::uint32_t> version;
};

JsonValue call_with_message(const Tool& tool, const ProofOptions& options, const char* act,
                            const Proof& proof, const base::Bytes* given) {
    const auto message = read_input(options.in, max_signed_bytes);
    base::JsonWriter body;
    body.begin_object().name("message").base64(base::as_bytes(message));
    if (given != nullptr) body.name(proof.member).base64(*given);
    if (options.version) body.field("key_version", *options.version);
    body.end_object();
    return tool.client().call("POST", key_path(options.key) + "/" + act, body.text());
}

int make_proof(const Tool& tool, const ProofOptions& options, const Proof& proof) {
    require_key_name(options.key);
    require_new_file(options.out);
    const JsonValue answer = call_with_message(tool, options, proof.command, proof, nullptr);
    if (tool.json) {
        write_output(options.out, base::to_json(answer), public_mode);
        return 0;
    }
    base::JsonReader reader(answer);
    const base::Bytes bytes = reader.required_base64(proof.member, max_proof_file_bytes);
    if (options.base64) {
        write_output(options.out, base::to_base64(bytes) + "\n", public_mode);
    } else {
        write_output_bytes(options.out, base::as_text(bytes), public_mode);
    }
    return 0;
}

base::Bytes read_proof(const ProofOptions& options, const Proof& proof) {
    const auto text = read_input(options.proof, max_proof_file_bytes);
    if (!options.base64) return base::to_bytes(base::as_bytes(text));
    std::string_view line = text;
    while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
    auto bytes = base::parse_base64(line);
    if (!bytes) throw UsageError(options.proof + " is not the base64 of a " + proof.words);
    return std::move(*bytes);
}

int verify_proof(const Tool& tool, const ProofOptions& options, const Proof& proof) {
    require_key_name(options.key);
    if (options.in == standard_stream && options.proof == standard_stream)
        throw UsageError("the message and its " + std::string(proof.words) +
                         " can't both come from standard input");
    const base::Bytes given = read_proof(options, proof);
    const JsonValue answer = call_with_message(tool, options, proof.verify_command, proof, &given);
    base::JsonReader reader(answer);
    const bool valid = reader.optional_boolean("valid").value_or(false);
    if (tool.json) {
        print(base::to_json(answer));
    } else if (valid) {
        print("The " + std::string(proof.words) + " is valid, by version " +
              cell(answer, "key_version") + " of the key.");
    } else {
        print("The " + std::string(proof.words) + " is NOT valid.");
    }
    return valid ? 0 : exit_failed;
}

int show_public_key(const Tool& tool, const ProofOptions& options) {
    require_key_name(options.key);
    require_new_file(options.out);
    std::string path = key_path(options.key) + "/public-key";
    if (options.version) path += "?version=" + std::to_string(*options.version);
    const JsonValue answer = tool.client().call("GET", path, {});
    write_output(options.out,
                 tool.json ? std::string(base::to_json(answer)) : cell(answer, "public_key"),
                 public_mode);
    return 0;
}

void add_proof_options(CLI::App& command, ProofOptions& options) {
    command.add_option("KEY", options.key, "Key id, or alias/NAME")->required();
    command.add_option("--in", options.in, "The message, at most 65536 bytes, - is standard input")
        ->type_name("FILE")
        ->capture_default_str();
    command.add_flag("--base64", options.base64, "One line of base64 instead of bytes");
}

void add_version(CLI::App& command, ProofOptions& options, const char* what) {
    command.add_option("--version", options.version, what)
        ->check(CLI::PositiveNumber)
        ->type_name("N");
}

void add_proof_commands(CLI::App& app, Tool& tool, const Proof& proof, const char* make_help,
                        const char* verify_help) {
    auto to_make = std::make_shared<ProofOptions>();
    CLI::App* make = app.add_subcommand(proof.command, make_help);
    add_proof_options(*make, *to_make);
    make->add_option("--out", to_make->out, "Where it goes, - is standard output")
        ->type_name("FILE")
        ->capture_default_str();
    make->callback([&tool, to_make, &proof] {
        tool.command = [&tool, to_make, &proof] { return make_proof(tool, *to_make, proof); };
    });

    auto to_verify = std::make_shared<ProofOptions>();
    CLI::App* verify = app.add_subcommand(proof.verify_command, verify_help);
    add_proof_options(*verify, *to_verify);
    verify->add_option(std::string("--") + proof.member, to_verify->proof, "What is to be verified")
        ->required()
        ->type_name("FILE");
    add_version(*verify, *to_verify, "Only by this version; else by any");
    verify->callback([&tool, to_verify, &proof] {
        tool.command = [&tool, to_verify, &proof] { return verify_proof(tool, *to_verify, proof); };
    });
}

}  // namespace

void add_signing_commands(CLI::App& app, Tool& tool) {
    add_proof_commands(app, tool, signature, "Sign a message with the private key in the token",
                       "Is a signature valid? Exit code 1 when it is not");
    add_proof_commands(app, tool, mac, "Make the MAC of a message in the token",
                       "Is a MAC valid? Exit code 1 when it is not");

    auto options = std::make_shared<ProofOptions>();
    CLI::App* give = app.add_subcommand("public-key", "The public half of a key pair, PEM");
    give->add_option("KEY", options->key, "Key id, or alias/NAME")->required();
    add_version(*give, *options, "Of this version; else of the primary one");
    give->add_option("--out", options->out, "Where it goes, - is standard output")
        ->type_name("FILE")
        ->capture_default_str();
    give->footer(
        "Example:\n"
        "  kmsctl public-key alias/releases --out releases.pem\n"
        "  openssl dgst -sha256 -verify releases.pem -signature release.sig release.tar");
    give->callback([&tool, options] {
        tool.command = [&tool, options] { return show_public_key(tool, *options); };
    });
}

}  // namespace kms
