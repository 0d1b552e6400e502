// A file byte by byte, through a buffer that is wiped: it may hold plaintext.
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/secret_bytes.h"

namespace vault {

// Not thread-safe.
class FileBytes {
public:
    static constexpr int end = -1;

    // Throws invalid_argument naming the file when it can't be opened or is no regular file.
    FileBytes(const std::filesystem::path& file, std::uint64_t offset);
    ~FileBytes();
    FileBytes(const FileBytes&) = delete;
    FileBytes& operator=(const FileBytes&) = delete;

    // The next byte, 0 to 255, or `end`. Both throw unavailable when the file can't be read.
    int peek();
    int take();

    std::uint64_t offset() const { return offset_; }  // of the byte that peek() shows
    std::uint64_t line() const { return line_; }      // line feeds taken so far
    void set_line(std::uint64_t line) { line_ = line; }

private:
    bool fill();

    int file_;
    base::WipedString buffer_;
    std::size_t at_ = 0;
    std::size_t size_ = 0;
    std::uint64_t offset_;
    std::uint64_t line_ = 0;
};

}  // namespace vault
