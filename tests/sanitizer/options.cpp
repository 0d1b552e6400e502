// What the sanitizers do, linked into every program of their presets: options of the environment do
// not reach them all, since daemons get an environment of their own and what a worker starts gets
// none. A report goes to a file: daemons end by SIGKILL, and a worker that fails is replaced.
// What was suppressed would be a report, too. Compiled without them: they ask before they can be
// used.
#include "tests/sanitizer/options.h"

const char* __asan_default_options() {
    return "print_suppressions=0:log_exe_name=1:log_path=" STRONGROOM_REPORTS "/report";
}

const char* __tsan_default_options() {
    return "print_suppressions=0:log_exe_name=1:log_path=" STRONGROOM_REPORTS "/report";
}

// The last user of an OpenSSL object frees its lock behind a count that this sanitizer can't see:
// the library is not instrumented. Nor is Botan, whose pool of secure memory is made by the first
// thread that wants some: that another finds it made is behind a guard that it can't see, either.
const char* __tsan_default_suppressions() {
    return "race:CRYPTO_THREAD_lock_free\n"
           "race:OPENSSL_sk_free\n"
           "race:Botan::mlock_allocator::mlock_allocator\n";
}
