#include "base/random.h"

#include <sys/random.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace base {

void random_bytes(std::span<std::uint8_t> out) {
    while (!out.empty()) {
        const ssize_t got = ::getrandom(out.data(), out.size(), 0);
        if (got < 0) {
            if (errno == EINTR) continue;
            throw Error(ErrorCode::unavailable, "the system gives no randomness",
                        std::strerror(errno));
        }
        out = out.subspan(static_cast<std::size_t>(got));
    }
}

SecretBytes random_secret(std::size_t size) {
    SecretBytes secret(size);
    random_bytes(secret.expose_mutable());
    return secret;
}

}  // namespace base
