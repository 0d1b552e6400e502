#include "server/hardening.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>

namespace server {
namespace {

using base::Error;
using base::ErrorCode;

[[noreturn]] void refused_by_kernel(const std::string& what) {
    const int error = errno;
    throw Error(ErrorCode::unavailable, "the system refused to " + what, std::strerror(error));
}

// Swap is a file, too. Locking everything under a small limit would make later allocations fail, so
// it is done only without a limit; the pool of secure memory locks itself in any case.
void lock_memory(base::Log& log) {
    rlimit limit{};
    if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0)
        refused_by_kernel("tell the limit of locked memory");
    if (limit.rlim_cur == RLIM_INFINITY && ::mlockall(MCL_CURRENT | MCL_FUTURE) == 0) {
        log.info("all memory is locked");
        return;
    }
    log.info(
        "only the pool of secure memory is locked; raise the limit (LimitMEMLOCK=infinity) to lock "
        "all");
}

// The words of a name, upper case: "--user-pin" is USER and PIN.
std::vector<std::string> words_of(std::string_view name) {
    std::vector<std::string> words(1);
    for (const char c : name) {
        if (c == '_' || c == '-' || c == '.')
            words.emplace_back();
        else
            words.back() += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    }
    return words;
}

// Words that stand for a secret on their own or at the end of a longer one: PGPASSWORD, APIKEY.
// KEY and PIN are not among them: MONKEY, SPIN.
bool ends_in_a_secret(std::string_view word) {
    constexpr std::array<std::string_view, 9> endings = {"PASSWORD",    "PASSWORDS", "PASSPHRASE",
                                                         "PASSPHRASES", "PASSWD",    "APIKEY",
                                                         "APIKEYS",     "SECRET",    "SECRETS"};
    return std::any_of(endings.begin(), endings.end(),
                       [word](std::string_view ending) { return word.ends_with(ending); });
}

// PWD alone is the working folder; behind another word it is a password, as in MYSQL_PWD.
bool is_password_word(const std::vector<std::string>& words) {
    return words.size() > 1 && words.back() == "PWD" && !words[words.size() - 2].empty();
}

bool names_a_secret(std::string_view name) {
    constexpr std::array<std::string_view, 4> secret_words = {"KEY", "KEYS", "PIN", "PINS"};
    const auto words = words_of(name);
    // A name that says where a secret is to be read is what we ask for.
    if (words.back() == "FILE" || words.back() == "PATH") return false;
    return is_password_word(words) || std::any_of(words.begin(), words.end(), ends_in_a_secret) ||
           std::find_first_of(words.begin(), words.end(), secret_words.begin(),
                              secret_words.end()) != words.end();
}

}  // namespace

void harden_process(base::Log& log) {
    const rlimit none{0, 0};
    if (::setrlimit(RLIMIT_CORE, &none) != 0) refused_by_kernel("switch core dumps off");
    if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        refused_by_kernel("make the process not dumpable");
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) refused_by_kernel("give up new privileges");
    lock_memory(log);
}

void refuse_root() {
    if (::geteuid() == 0) {
        throw Error(ErrorCode::failed_precondition,
                    "this program does not run as root; start it as a user of its own, e.g. with "
                    "User= in its unit");
    }
}

void refuse_secret_environment(const char* const* environment) {
    for (; environment != nullptr && *environment != nullptr; ++environment) {
        const std::string_view entry = *environment;
        const std::string_view name = entry.substr(0, entry.find('='));
        const bool empty = name.size() + 1 >= entry.size();
        if (empty || !names_a_secret(name)) continue;
        throw Error(ErrorCode::failed_precondition,
                    "the environment variable " + std::string(name) +
                        " looks like a secret; unset it and name a file, a systemd credential or a "
                        "prompt in the "
                        "configuration instead");
    }
}

void refuse_secret_arguments(const std::vector<std::string_view>& arguments) {
    for (std::string_view argument : arguments) {
        if (!argument.starts_with('-')) continue;
        argument.remove_prefix(std::min(argument.find_first_not_of('-'), argument.size()));
        const std::string_view name = argument.substr(0, argument.find('='));
        if (!names_a_secret(name)) continue;
        throw Error(ErrorCode::failed_precondition,
                    "the argument --" + std::string(name) +
                        " would show a secret to every user of the system; name a file, a systemd "
                        "credential or a "
                        "prompt in the configuration instead");
    }
}

}  // namespace server
