#include "server/database_config.h"

#include "server/config.h"

namespace server {

DatabaseConfig read_database_config(base::JsonReader& top, const std::filesystem::path& folder) {
    base::JsonReader store = top.required_object("store");
    SqliteConfig config;
    config.file = required_path(store, "sqlite", folder);
    store.refuse_unknown();
    return config;
}

}  // namespace server
