// A fresh directory of a test's own, removed with everything in it at the end.
#pragma once

#include <filesystem>
#include <string_view>

namespace tests {

class TemporaryDirectory {
public:
    TemporaryDirectory();
    ~TemporaryDirectory();
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

    const std::filesystem::path& path() const { return path_; }
    std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

    // Writes a file in it and returns its path.
    std::filesystem::path write(std::string_view name, std::string_view content,
                                unsigned mode = 0600) const;

private:
    std::filesystem::path path_;
};

}  // namespace tests
