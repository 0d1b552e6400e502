// Where an audit log keeps its signed checkpoints, beside the records:
//
//     checkpoint     the latest, as tools of transparency logs look for it
//     checkpoints    all of them, oldest first, an empty line behind each
//
// Files only; what a note says is server/checkpoint.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace server {

// Not thread-safe.
class CheckpointFile {
public:
    // Cuts a torn last note, which was never published. Throws failed_precondition naming the file
    // when it can't be used.
    explicit CheckpointFile(std::filesystem::path directory);

    // The latest note that was added; empty when there is none.
    const std::string& last() const { return last_; }
    // Durable in `checkpoints` first, then `checkpoint` is replaced. Throws unavailable.
    void add(const std::string& note);

private:
    std::filesystem::path directory_;
    std::string last_;
};

inline constexpr std::string_view checkpoint_history = "checkpoints";
inline constexpr std::string_view latest_checkpoint = "checkpoint";

// The notes of a text of many, each as it was signed; what follows the last whole one, if anything,
// is the last item of `torn`. Nothing is verified.
struct NoteHistory {
    std::vector<std::string> notes;
    std::string torn;
};
NoteHistory split_notes(std::string_view text);

}  // namespace server
