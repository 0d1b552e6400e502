// Secrets of more than one line: key rings, connection strings. base/file.h has those of one.
#pragma once

#include <cstddef>
#include <filesystem>

#include "base/secret_bytes.h"

namespace base {

// The whole of a regular file that belongs to this user or root and that nobody else can read or
// write (no bits of 0077), 1 to `max_bytes`. Throws invalid_argument naming the file and the mode
// it should have.
SecretBytes read_secret_document(const std::filesystem::path& path, std::size_t max_bytes);

}  // namespace base
