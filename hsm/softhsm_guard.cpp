#include "hsm/softhsm_guard.h"

#include <endian.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "hsm/softhsm_object_file.h"

namespace hsm {
namespace {

constexpr std::size_t max_object_bytes = 64UL * 1024;
constexpr std::size_t max_configuration_bytes = 64UL * 1024;
constexpr mode_t read_only_mode = 0400;
constexpr std::string_view object_name = "token.object";
// SoftHSM reads only names that end in ".object".
constexpr std::string_view copy_name = "token.object.copy";

using base::refuse;

// As SoftHSM itself looks for it.
std::filesystem::path find_configuration(const TokenConfig& config) {
    if (!config.softhsm_config.empty()) return std::filesystem::absolute(config.softhsm_config);
    // NOLINTBEGIN(concurrency-mt-unsafe): read at start; nothing of ours writes the environment
    // later
    if (const char* variable = std::getenv("SOFTHSM2_CONF"); variable != nullptr) return variable;
    if (const char* home = std::getenv("HOME"); home != nullptr) {
        auto own = std::filesystem::path(home) / ".config/softhsm2/softhsm2.conf";
        if (std::filesystem::exists(own)) return own;
    }
    // NOLINTEND(concurrency-mt-unsafe)
    return "/etc/softhsm/softhsm2.conf";
}

// What is never a count.
constexpr std::uint64_t unknown_count = std::numeric_limits<std::uint64_t>::max();

// The file "generation" of a token's folder, eight bytes, the highest first; 0 when it can't be
// read.
std::uint64_t count_of_changes(const std::filesystem::path& folder) {
    std::uint64_t count = 0;
    const int file = ::open((folder / "generation").c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    if (::read(file, &count, sizeof(count)) != static_cast<ssize_t>(sizeof(count))) count = 0;
    ::close(file);
    return be64toh(count);
}

std::string_view trim(std::string_view text) {
    const auto first = text.find_first_not_of(" \t\r");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::filesystem::path tokens_folder(const std::filesystem::path& configuration) {
    std::string content;
    try {
        content = base::read_file(configuration, max_configuration_bytes);
    } catch (const base::Error& error) {
        refuse("SoftHSM's configuration " + error.message());
    }
    std::string_view rest = content;
    std::string_view found;
    while (!rest.empty()) {
        const auto end = rest.find('\n');
        std::string_view line = rest.substr(0, end);
        rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
        line = line.substr(0, line.find('#'));
        const auto equals = line.find('=');
        if (equals == std::string_view::npos ||
            trim(line.substr(0, equals)) != "directories.tokendir")
            continue;
        found = trim(line.substr(equals + 1));
    }
    if (found.empty())
        refuse(configuration.string() +
               " has no directories.tokendir; SoftHSM's tokens can't be found");
    return found;
}

std::optional<std::string> content_of(const std::filesystem::path& file) {
    try {
        return base::read_file(file, max_object_bytes);
    } catch (const base::Error&) {
        return std::nullopt;
    }
}

std::optional<SoftHsmTokenObject> parse(const std::optional<std::string>& content) {
    return content ? parse_softhsm_token_object(base::as_bytes(*content)) : std::nullopt;
}

std::string restore_command(const std::filesystem::path& folder) {
    return "cp -pf '" + (folder / copy_name).string() + "' '" + (folder / object_name).string() +
           "'";
}

// What is wrong with `object`; empty when it is whole.
std::string problem(const std::optional<std::string>& content) {
    if (!content) return "is missing or can't be read";
    if (parse(content)) return {};
    return "is damaged (" + std::to_string(content->size()) + " bytes)";
}

std::string why_errno() {
    return std::strerror(errno);
}  // NOLINT(concurrency-mt-unsafe): glibc's is safe

}  // namespace

void set_softhsm_configuration(const std::filesystem::path& file) {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): at start, before any thread
    if (::setenv("SOFTHSM2_CONF", std::filesystem::absolute(file).c_str(), 1) != 0) {
        refuse("SOFTHSM2_CONF can't be set", why_errno());
    }
}

SoftHsmGuard::SoftHsmGuard(const TokenConfig& config, const Matches& matches, base::Log& log)
    : config_(config), log_(log) {
    config_.softhsm_config = find_configuration(config);
    tokens_ = tokens_folder(config_.softhsm_config);
    std::error_code error;
    std::filesystem::directory_iterator folders(tokens_, error);
    if (error)
        refuse("SoftHSM's token folder " + tokens_.string() + " can't be read: " + error.message());
    for (const auto& entry : folders) {
        if (!entry.is_directory(error)) continue;
        const auto object = content_of(entry.path() / object_name);
        const auto read = parse(object);
        const auto copy = parse(content_of(entry.path() / copy_name));
        const bool copy_is_ours = copy && matches(copy->label, copy->serial);
        if (read && (!copy_is_ours || matches(read->label, read->serial))) continue;
        const std::string file = (entry.path() / object_name).string();
        const std::string why = read ? "names another token than its copy does" : problem(object);
        std::string trouble = file;
        trouble.append(" ").append(why);
        if (copy_is_ours) {
            trouble.append(
                ". Its keys are still there: stop everything that uses the token, run\n  ");
            trouble.append(restore_command(entry.path()));
            refuse(trouble + "\nand start again. Do not initialise the token: that destroys it");
        }
        hint_.append(hint_.empty() ? "" : "; ").append(trouble);
        hint_.append(" and has no copy to restore it from");
    }
}

void SoftHsmGuard::before_login(std::string_view label, std::string_view serial) {
    for (const auto& entry : std::filesystem::directory_iterator(tokens_)) {
        const auto object = parse(content_of(entry.path() / object_name));
        if (object && object->label == label && object->serial == serial) folder_ = entry.path();
    }
    if (folder_.empty()) {
        refuse("no folder of " + tokens_.string() +
               " holds the token; is another SoftHSM configuration in use?");
    }
    const auto object = folder_ / object_name;
    if (::chmod(object.c_str(), read_only_mode) != 0) {
        refuse(object.string() + " can't be made read-only (mode 0400): " + why_errno());
    }
    if (::geteuid() == 0) {
        log_.warning(
            "SoftHSM's token file can't be guarded against root; a kill during a login may lose "
            "the token",
            {{"file", object.string()}});
    }
    if (!content_of(folder_ / copy_name)) after_login();
}

void SoftHsmGuard::after_login() {
    const auto now = content_of(folder_ / object_name);
    if (!parse(now) || now == content_of(folder_ / copy_name)) return;
    base::write_file_durably(folder_ / copy_name, *now, read_only_mode);
}

std::string SoftHsmGuard::refused_pin_hint() const {
    const auto copy = content_of(folder_ / copy_name);
    if (!copy || copy == content_of(folder_ / object_name)) return {};
    return "If the PIN is right, " + (folder_ / object_name).string() +
           " was damaged or changed since the last good login; to go back to its copy run\n  " +
           restore_command(folder_);
}

void SoftHsmGuard::note_objects() { noted_objects_ = count_of_changes(folder_); }

void SoftHsmGuard::note_changes(std::optional<std::uint64_t> changes) {
    if (!changes) {
        noted_objects_ = unknown_count;
        return;
    }
    const std::uint64_t count = count_of_changes(folder_);
    if (count != 0) noted_objects_ = std::max(count, noted_objects_ + *changes);
}

bool SoftHsmGuard::were_objects_changed() const {
    return count_of_changes(folder_) != noted_objects_.load();
}

void SoftHsmGuard::sync() const {
    const int folder = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool synced = folder >= 0 && ::syncfs(folder) == 0;
    const std::string why = synced ? "" : why_errno();
    if (folder >= 0) ::close(folder);
    if (!synced) {
        throw base::Error(base::ErrorCode::unavailable,
                          "the token's files can't be written to the disk",
                          folder_.string() + ": " + why);
    }
}

void SoftHsmGuard::make_durable(const base::SecretBytes& pin,
                                const ReadbackQuestion& question) const {
    sync();
    if (!config_.readback_program.empty()) read_back(config_, pin, question);
}

}  // namespace hsm
