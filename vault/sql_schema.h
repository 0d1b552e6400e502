// The tables of credentials and their destructions. For the SQL store's own files only.
#pragma once

#include <span>

namespace server {
struct Migration;
}

namespace vault {

std::span<const server::Migration> credential_migrations();

}  // namespace vault
