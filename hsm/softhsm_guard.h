// What SoftHSM 2.6 needs from outside to keep its token alive. It rewrites token.object in place at
// every login, so a kill at that moment or a full disk loses all keys; and it syncs nothing.
// Everything here is about files; no PKCS#11 type appears.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "base/log.h"
#include "hsm/readback_client.h"
#include "hsm/token_config.h"

namespace hsm {

// Points SoftHSM at its configuration (SOFTHSM2_CONF). Once, before the module is loaded: the
// environment is not for threads.
void set_softhsm_configuration(const std::filesystem::path& file);

// Not thread-safe but where it says so.
class SoftHsmGuard {
public:
    // `matches(label, serial)` says whether a token is ours. Throws failed_precondition when the
    // configuration can't be read, and when token.object of our token is missing, short or damaged:
    // the message names the file and the command that restores it from the copy. Nothing is ever
    // restored or initialised by itself.
    using Matches = std::function<bool(std::string_view label, std::string_view serial)>;
    SoftHsmGuard(const TokenConfig& config, const Matches& matches, base::Log& log);

    // For the message when no token matches: token folders that can't be read; else empty.
    std::string hint() const { return hint_; }

    // Before the login: takes the right to write from token.object (it works against any user but
    // root) and makes a first copy. Throws failed_precondition.
    void before_login(std::string_view label, std::string_view serial);
    // After the login, which proves the file good: keeps a durable copy of it.
    void after_login();
    // Added to the message when the PIN is refused and the file is not what it was; else empty.
    std::string refused_pin_hint() const;

    // SoftHSM counts in the token's folder how often objects were made or destroyed there. Once its
    // write to token.object was refused (above) it never looks at objects of other processes again:
    // only a new initialisation does, and makes none itself any more (CKR_GENERAL_ERROR).
    // note_objects() is for the moment of one. note_changes() is for changes of our own: so many
    // objects made or destroyed at least, each of which it counts once; empty when it may not know
    // its token any more. A count that is behind afterwards lacks some: a process that opens the
    // token meanwhile writes back the count that it has read, a moment after it gave its lock away.
    // were_objects_changed() says whether the module must be expected not to know all. Thread-safe.
    void note_objects();
    void note_changes(std::optional<std::uint64_t> changes);
    bool were_objects_changed() const;

    // Writes what SoftHSM left in the system's cache to the disk (syncfs). Throws unavailable.
    void sync() const;
    // sync(), then, when a read-back program is configured, has `question` answered by a second
    // process. Throws unavailable: the key must not be used then. Thread-safe.
    void make_durable(const base::SecretBytes& pin, const ReadbackQuestion& question) const;

private:
    TokenConfig config_;            // with softhsm_config filled in
    std::filesystem::path tokens_;  // directories.tokendir
    std::filesystem::path folder_;  // of our token
    std::string hint_;
    std::atomic<std::uint64_t> noted_objects_{0};
    base::Log& log_;
};

}  // namespace hsm
