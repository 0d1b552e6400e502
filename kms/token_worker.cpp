// strongroom-token-worker: the PKCS#11 module and the PIN in a process of their own. kmsd starts it
// with a socket as its standard input and says over it which token to open; it takes no arguments.
// It ends with kmsd.
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>

#include "hsm/worker_service.h"
#include "kms/token_worker_filter.h"
#include "server/hardening.h"

namespace {

// A terminal and systemd tell every process of a service to stop; kmsd decides when this one does,
// since requests that it is still answering need the token.
void leave_signals_to_kmsd() {
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) {
        std::signal(signal, SIG_IGN);  // NOLINT(cert-err33-c): ignoring a signal can't fail here
    }
}

// Where all memory is locked, a stack is memory from the moment its thread starts, and there is a
// thread for each channel.
void bound_stacks() {
    constexpr std::size_t stack_bytes = 1024UL * 1024;
    pthread_attr_t attributes;
    if (::pthread_attr_init(&attributes) != 0) return;
    ::pthread_attr_setstacksize(&attributes, stack_bytes);
    ::pthread_setattr_default_np(&attributes);
    ::pthread_attr_destroy(&attributes);
}

bool is_socket(int descriptor) {
    struct stat status {};
    return ::fstat(descriptor, &status) == 0 && S_ISSOCK(status.st_mode);
}

int serve() {
    leave_signals_to_kmsd();
    bound_stacks();
    base::Log log("strongroom-token-worker", base::LogLevel::warning);
    server::harden_process(log);
    if (!hsm::end_with_parent(STDIN_FILENO)) return EXIT_FAILURE;
    const bool served =
        hsm::serve_worker(hsm::Descriptor(STDIN_FILENO), kms::restrict_system_calls);
    return served ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main() {
    int status = EXIT_FAILURE;
    try {
        if (is_socket(STDIN_FILENO)) {
            status = serve();
        } else {
            std::cerr
                << "strongroom-token-worker: kmsd starts this program; it does nothing alone\n";
        }
    } catch (const std::exception& error) {
        std::cerr << "strongroom-token-worker: " << error.what() << '\n';
    }
    std::_Exit(status);  // modules crash in exit handlers, and threads may hang in them
}
