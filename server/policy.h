// What callers may do: roles, rules and bindings from one JSON file, deny by default. Policy knows
// words (actions, kinds of resource), not keys or credentials.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/operation.h"

namespace server {

// Immutable once loaded, so safe to share between threads.
class Policy {
public:
    virtual ~Policy() = default;

    // Never throws for a well-formed question; the default is deny.
    virtual Decision decide(const Caller& caller, Action action, const Resource& resource,
                            const std::map<std::string, std::string>& context) const = 0;
    // Whether any rule could allow `caller` that action on some resource: for answers that must not
    // tell a forbidden resource from one that does not exist.
    virtual bool may_ever(const Caller& caller, Action action) const = 0;
    // SHA-256 of the file's bytes, hex.
    virtual const std::string& hash() const = 0;
};

// Reads a policy whole or not at all. `known_actions` are the words that rules may use: an unknown
// one is an error, as is every unknown field. Throws invalid_argument naming file and field.
std::shared_ptr<const Policy> load_policy(const std::filesystem::path& file,
                                          const std::vector<std::string_view>& known_actions);
std::shared_ptr<const Policy> parse_policy(std::string_view text,
                                           const std::vector<std::string_view>& known_actions);

}  // namespace server
