// Where secrets come in besides plain files: systemd's credentials and a person at a terminal.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/secret_bytes.h"

namespace server {

// True for a name without a folder in it: not empty, no '/', not "." or "..", no control
// characters.
bool is_plain_file_name(std::string_view name);

// The file of the credential `name` (a plain file name) that systemd passed (systemd.exec(5),
// "LoadCredential="), for base::read_secret_file. Throws invalid_argument when it passed none.
std::filesystem::path credential_file(std::string_view name);

// Asks for `what` on the process's terminal, without echo; one line of at most 4,096 bytes. Throws
// invalid_argument when there is no terminal, when nothing was typed or too much.
base::SecretBytes prompt_for_secret(const std::string& what);

}  // namespace server
