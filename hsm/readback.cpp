// strongroom-key-readback: proves to kmsd, from a process of its own, that a new key is really in
// the token's files. Reads one question from standard input, writes one answer, ends; ends with who
// started it. Takes no arguments and reads no environment; see hsm/readback_client.h.
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include "base/encoding.h"
#include "base/json.h"
#include "base/log.h"
#include "hsm/child_process.h"
#include "hsm/pkcs11_token.h"

namespace {

constexpr std::size_t max_question_bytes = 64UL * 1024;

struct Question {
    hsm::TokenConfig config;
    base::SecretBytes pin;
    hsm::KeyId key;
    hsm::KeyKind kind = hsm::KeyKind::aes_256;
    hsm::Iv iv{};
    base::Bytes input;
};

// This process holds a PIN: no core dump, no debugger.
void harden() {
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
    ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

base::WipedString read_all() {
    base::WipedString text(max_question_bytes, '\0');
    std::size_t size = 0;
    while (size < text.size()) {
        const ssize_t got = ::read(STDIN_FILENO, text.data() + size, text.size() - size);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        size += static_cast<std::size_t>(got);
    }
    text.resize(size);
    return text;
}

Question parse_question(std::string_view text) {
    constexpr std::size_t max_path_bytes = 4096;
    const base::JsonValue document = base::parse_json(text);
    base::JsonReader reader(document);
    Question question;
    question.config.module = reader.required_string("module", max_path_bytes);
    question.config.uri = reader.required_string("uri", max_path_bytes);
    question.config.init_string =
        reader.optional_string("init_string", max_path_bytes, 0).value_or("");
    question.config.softhsm_config = reader.required_string("softhsm_config", max_path_bytes);
    question.config.max_sessions = 1;
    auto pin = base::parse_base64_secret(reader.required_string("pin", max_path_bytes));
    if (!pin) reader.refuse("pin", "must be base64");
    question.pin = std::move(*pin);
    question.key = reader.required_uuid("key");
    const auto kind = hsm::parse_key_kind(reader.required_string("kind", max_path_bytes));
    if (!kind) reader.refuse("kind", "must be a kind of key");
    question.kind = *kind;
    const base::Bytes iv = reader.required_base64("iv", hsm::iv_bytes, hsm::iv_bytes);
    std::copy(iv.begin(), iv.end(), question.iv.begin());
    question.input = reader.required_base64("input", max_path_bytes);
    reader.refuse_unknown();
    return question;
}

base::Bytes output_of(hsm::Token& token, const Question& question) {
    if (question.kind == hsm::KeyKind::aes_256)
        return base::to_bytes(
            token.decrypt(question.key, question.iv, {}, question.input).expose());
    if (question.kind == hsm::KeyKind::hmac_sha_256) return token.mac(question.key, question.input);
    return token.sign(question.key, question.kind, question.input);
}

base::WipedString answer(const Question& question) {
    base::Log log("strongroom-key-readback", base::LogLevel::error);
    auto token = hsm::open_for_readback(question.config, question.pin, log);
    const auto attributes = token->find_key(question.key);
    if (!attributes)
        throw base::Error(base::ErrorCode::not_found, "a second process does not find the key");
    const base::Bytes output = output_of(*token, question);
    const base::Bytes public_key =
        hsm::is_pair(question.kind) ? token->public_key(question.key) : base::Bytes();
    token
        .reset();  // finalised before the answer: who asked may then end this process at any moment
    base::JsonWriter writer;
    writer.begin_object().name("output").base64(output);
    writer.name("public_key").base64(public_key).end_object();
    return writer.take();
}

base::WipedString refusal(const std::string& why, base::ErrorCode code) {
    base::JsonWriter writer;
    writer.begin_object().field("error", why).field("code", to_string(code)).end_object();
    return writer.take();
}

void write_all(std::string_view text) {
    while (!text.empty()) {
        const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return;
        text.remove_prefix(static_cast<std::size_t>(written));
    }
}

}  // namespace

int main() {
    harden();
    // Before the PIN is read: who asked may be killed, and this must not stay behind with it.
    if (!hsm::end_with_parent(STDIN_FILENO)) std::_Exit(EXIT_FAILURE);
    int status = EXIT_SUCCESS;
    base::WipedString text;
    try {
        text = answer(parse_question(read_all()));
    } catch (const base::Error& error) {
        text = refusal(error.what(), error.code());
        status = EXIT_FAILURE;
    } catch (const std::exception& error) {
        text = refusal(error.what(), base::ErrorCode::internal);
        status = EXIT_FAILURE;
    }
    write_all(text);
    std::_Exit(status);  // modules crash in exit handlers
}
