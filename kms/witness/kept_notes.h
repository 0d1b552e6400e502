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

// Not thread-safe.
class KeptNotes {
public:
    // Throws as load().
    explicit KeptNotes(std::filesystem::path file);

    // Reads the file anew; one that is not there holds nothing. Throws invalid_argument naming the
    // file when it makes no sense.
    void load();

    bool empty() const noexcept { return notes_.empty(); }
    const std::map<std::string, std::string>& by_origin() const noexcept { return notes_; }
    std::vector<server::Checkpoint> checkpoints() const;

    // Instead of what was kept of its log, durably. Throws unavailable.
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
