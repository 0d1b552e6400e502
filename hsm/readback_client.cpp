#include "hsm/readback_client.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>

#include "base/encoding.h"
#include "base/error.h"
#include "base/json.h"
#include "hsm/child_process.h"
#include "hsm/public_key.h"

namespace hsm {
namespace {

constexpr std::size_t max_answer_bytes = 16UL * 1024;

[[noreturn]] void fail(const std::string& detail,
                       base::ErrorCode code = base::ErrorCode::unavailable) {
    throw base::Error(code, "the new key could not be read back", detail);
}

[[noreturn]] void fail_errno(const char* what, int error) {
    fail(std::string(what) + ": " + std::strerror(error));
}

base::WipedString to_document(const TokenConfig& config, const base::SecretBytes& pin,
                              const ReadbackQuestion& question) {
    base::JsonWriter writer;
    writer.begin_object()
        .field("module", config.module.string())
        .field("uri", config.uri)
        .field("init_string", config.init_string)
        .field("softhsm_config", config.softhsm_config.string());
    writer.name("pin").base64(pin.expose());
    writer.field("key", question.key.to_string());
    writer.field("kind", to_string(question.kind));
    writer.name("iv").base64(question.iv);
    writer.name("input").base64(question.input);
    writer.end_object();
    return writer.take();
}

// Small enough for the socket's buffer, so that it never blocks.
void send(const Descriptor& socket, std::string_view text) {
    while (!text.empty()) {
        const ssize_t sent = ::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) fail_errno("send", errno);
        text.remove_prefix(static_cast<std::size_t>(sent));
    }
    ::shutdown(socket.get(), SHUT_WR);
}

// Everything up to the end of the child's output.
base::WipedString receive(const Descriptor& socket, std::chrono::milliseconds patience) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    base::WipedString answer(max_answer_bytes, '\0');
    std::size_t size = 0;
    for (;;) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0) fail("the read-back program did not answer in time and was killed");
        pollfd ready{socket.get(), POLLIN, 0};
        const int count = ::poll(&ready, 1, static_cast<int>(left.count()));
        if (count == 0 || (count < 0 && errno == EINTR)) continue;
        if (count < 0) fail_errno("poll", errno);
        const ssize_t got = ::recv(socket.get(), answer.data() + size, answer.size() - size, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail_errno("recv", errno);
        if (got == 0) break;
        size += static_cast<std::size_t>(got);
        if (size == answer.size()) fail("the read-back program's answer is too long");
    }
    answer.resize(size);
    return answer;
}

// Whether the answer is that of the very key.
bool fits(base::JsonReader& reader, const ReadbackQuestion& question) {
    const base::Bytes output = reader.required_base64("output", max_answer_bytes);
    if (!is_pair(question.kind)) return base::equal_constant_time(output, question.expected);
    const base::Bytes public_key = reader.required_base64("public_key", max_answer_bytes);
    return public_key == question.expected &&
           verify_signature(question.kind, public_key, question.input, output);
}

// What a refusal of the program proves of the key. Any other code is trouble of the program's own.
base::ErrorCode meaning_of(std::string_view code) {
    for (const auto proof : {base::ErrorCode::not_found, base::ErrorCode::integrity_failure})
        if (code == base::to_string(proof)) return proof;
    return base::ErrorCode::unavailable;
}

void judge(const base::WipedString& answer, const ReadbackQuestion& question) {
    std::optional<std::string> refusal;
    std::string code;
    bool is_same = false;
    try {
        const base::JsonValue document = base::parse_json(answer);
        base::JsonReader reader(document);
        refusal = reader.optional_string("error", max_answer_bytes);
        code = reader.optional_string("code", max_answer_bytes).value_or("");
        is_same = !refusal && fits(reader, question);
    } catch (const base::Error& error) {
        fail(std::string("the read-back program's answer: ") + error.what());
    }
    if (refusal) fail(*refusal, meaning_of(code));
    if (!is_same) {
        fail("a second process has another key under the id", base::ErrorCode::integrity_failure);
    }
}

}  // namespace

void read_back(const TokenConfig& config, const base::SecretBytes& pin,
               const ReadbackQuestion& question, std::chrono::milliseconds patience) {
    SocketPair sockets = make_socket_pair();
    const Descriptor ours = std::move(sockets.ours);
    // Its answer is all that we want, and it gives it as its last act: it is killed at the end.
    // What it must know, the question says.
    const ChildProcess child(config.readback_program, sockets.theirs.get(), sockets.theirs.get(),
                             ChildEnvironment::none);
    sockets.theirs.close();
    send(ours, to_document(config, pin, question));
    judge(receive(ours, patience), question);
}

}  // namespace hsm
