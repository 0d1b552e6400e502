// A file of sealed values while an import writes it: lines that are appended. What was not put on
// disk before a crash is cut off by the next import.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace vault {

// Not thread-safe.
class OutputFile {
public:
    // Without `bytes` it is made, with mode 0600, and must not be there yet. With them it is the
    // one that an import began and is cut at that length; with 0 it may be missing, and must be
    // empty if it is there. Throws invalid_argument naming the file and what to do, also when
    // another process writes it.
    OutputFile(const std::filesystem::path& file, std::optional<std::uint64_t> bytes);
    ~OutputFile();
    OutputFile(const OutputFile&) = delete;
    OutputFile& operator=(const OutputFile&) = delete;

    // Throws unavailable.
    void write(std::string_view text);
    // On disk when it returns: how long the file is. Throws unavailable.
    std::uint64_t sync() const;

private:
    [[noreturn]] void refuse(const std::filesystem::path& file, const std::string& why);

    int file_ = -1;
    std::uint64_t size_;
};

}  // namespace vault
