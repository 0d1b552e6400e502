// What a witness keeps:
//
//     <file>            the last signed checkpoint of each log, proven to extend the one before
//     <file>.conflict   what contradicts it, once something does; an operator removes it
//
// Files only; what a checkpoint means is kms/witness/log_judge.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "kms/witness/conflict.h"
#include "server/checkpoint.h"

namespace kms {

inline constexpr std::size_t max_note_bytes = 4096;  // ours have less than 400
inline constexpr std::size_t max_logs = 64;

// Not thread-safe.
class KeptNotes {
public:
    // Throws as load().
    explicit KeptNotes(std::filesystem::path file);

    // Reads the file anew; one that is not there holds nothing. Throws invalid_argument naming the
    // file, and saying what to do, when it is not as keep() left it: whoever can damage it must not
    // make it a witness that saw nothing.
    void load();

    bool empty() const noexcept { return notes_.empty(); }
    const std::map<std::string, std::string>& by_origin() const noexcept { return notes_; }
    std::vector<server::Checkpoint> checkpoints() const;
    // All of it, an empty line behind each.
    std::string text() const;

    // Instead of what was kept of its log, durably. Throws unavailable when it can't be written,
    // and invalid_argument for what the file could not hold: a note of more than max_note_bytes or
    // with another within, one log more than max_logs. Then what was kept stays.
    void keep(const std::string& origin, const std::string& note);

    std::filesystem::path conflict_file() const { return file_.string() + ".conflict"; }
    bool has_conflict() const;
    // Throws unavailable.
    void write_conflict(const LogConflict& conflict) const;

private:
    const std::filesystem::path file_;
    std::map<std::string, std::string> notes_;
};

}  // namespace kms
