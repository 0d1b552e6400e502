#include "server/secret_source.h"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t max_secret_bytes = 4096;

// The terminal without echo for as long as this lives.
class QuietTerminal {
public:
    QuietTerminal() : terminal_(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)) {
        if (terminal_ < 0 || ::tcgetattr(terminal_, &before_) != 0) {
            if (terminal_ >= 0) ::close(terminal_);
            throw Error(ErrorCode::invalid_argument,
                        "there is no terminal to ask for a secret; name a file instead");
        }
        termios quiet = before_;
        quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
        ::tcsetattr(terminal_, TCSAFLUSH, &quiet);
    }
    ~QuietTerminal() {
        ::tcsetattr(terminal_, TCSAFLUSH, &before_);
        ::close(terminal_);
    }
    QuietTerminal(const QuietTerminal&) = delete;
    QuietTerminal& operator=(const QuietTerminal&) = delete;

    void say(std::string_view text) const {
        while (!text.empty()) {
            const ssize_t written = ::write(terminal_, text.data(), text.size());
            if (written < 0 && errno == EINTR) continue;
            if (written <= 0) return;
            text.remove_prefix(static_cast<std::size_t>(written));
        }
    }

    // False at the end of input.
    bool read_byte(std::uint8_t& byte) const {
        ssize_t got = 0;
        do {
            got = ::read(terminal_, &byte, 1);
        } while (got < 0 && errno == EINTR);
        return got == 1;
    }

private:
    int terminal_;
    termios before_{};
};

}  // namespace

bool is_plain_file_name(std::string_view name) {
    const auto forbidden = [](char c) {
        return c == '/' || static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
    };
    return !name.empty() && name != "." && name != ".." &&
           std::none_of(name.begin(), name.end(), forbidden);
}

std::filesystem::path credential_file(std::string_view name) {
    // Not a secret: the folder in which systemd put them. Read before any thread is started.
    const char* folder = std::getenv("CREDENTIALS_DIRECTORY");  // NOLINT(concurrency-mt-unsafe)
    if (folder == nullptr || *folder == '\0') {
        throw Error(ErrorCode::invalid_argument,
                    "the credential \"" + std::string(name) +
                        "\" is wanted, but systemd passed none; add LoadCredential= to "
                        "the unit or name a file");
    }
    return std::filesystem::path(folder) / name;
}

base::SecretBytes prompt_for_secret(const std::string& what) {
    const QuietTerminal terminal;
    terminal.say(what + ": ");
    base::SecretBytes typed(max_secret_bytes);
    std::size_t size = 0;
    std::uint8_t byte = 0;
    while (terminal.read_byte(byte) && byte != '\n') {
        if (size == max_secret_bytes)
            throw Error(ErrorCode::invalid_argument, "what was typed is too long");
        typed.expose_mutable()[size++] = byte;
    }
    base::wipe(&byte, sizeof byte);
    terminal.say("\n");
    if (size == 0) throw Error(ErrorCode::invalid_argument, "nothing was typed");
    typed.shrink(size);
    return typed;
}

}  // namespace server
