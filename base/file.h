// Small files of configuration and secrets. Not for data: stores and the audit log own their files.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

#include "base/secret_bytes.h"

namespace base {

// The whole file, at most `max_bytes`. Throws invalid_argument naming the file and what is wrong
// with it (missing, unreadable, a folder, too large): these are start-up errors for an operator.
std::string read_file(const std::filesystem::path& path, std::size_t max_bytes);

// The same for a file that grants rights (configuration, policy, a certificate authority): it must
// also belong to this user or root, and nobody else may write it (no bits of 0022).
std::string read_trusted_file(const std::filesystem::path& path, std::size_t max_bytes);

// A secret (PIN, shared secret): the first line of a regular file that belongs to this user or root
// and that nobody else can read or write (no bits of 0077). Trailing line end removed, at most
// 4,096 bytes, not empty. Throws invalid_argument naming the file and the mode it should have.
SecretBytes read_secret_file(const std::filesystem::path& path);

// Throws invalid_argument when a private file (a TLS key) can be read by others than its owner.
void require_private_file(const std::filesystem::path& path);

// Writes a small file so that after a crash either the old or the new content is there: a fresh
// temporary file beside it (`.<name>.<random>`) with `mode`, fsync, rename, fsync of the folder. A
// symbolic link at `path` is replaced, not followed. Throws unavailable and leaves no temporary
// file.
void write_file_durably(const std::filesystem::path& path, std::string_view content, unsigned mode);

}  // namespace base
