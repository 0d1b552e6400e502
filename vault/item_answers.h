// What the vault's calls on many items have in common: a right is decided once for each resource,
// each item has a result of its own in the answer, and a row in the audit record.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "server/authorizer.h"
#include "server/request.h"
#include "vault/data_keys.h"

namespace vault {

// "0,3,4": places of items in their call, from 0.
std::string to_positions(const std::vector<std::size_t>& items);
// The fact "data_keys_from_cache": which items were opened without asking the key service.
void note_data_keys(server::Operation& operation, const std::vector<std::size_t>& from_cache);

// What was decided about one resource: a grant or an error.
struct ItemVerdict {
    std::optional<server::Grant> grant;
    std::optional<base::Error> error;
    std::size_t decision = 0;  // its place in Operation::decided()
};

// The rights of one call to one action. One thread; operation and authorizer must outlive it.
// References that it gives stay good as long as it lives.
class ItemRights {
public:
    ItemRights(const server::Authorizer& authorizer, server::Operation& operation,
               server::Action action)
        : authorizer_(authorizer), operation_(operation), action_(action) {}

    // Throws permission_denied when the caller may do the action on no resource at all; `named` is
    // what the record then names.
    void require_any(const server::Resource& named) const;

    const ItemVerdict& to(const server::Resource& resource);

private:
    const server::Authorizer& authorizer_;
    server::Operation& operation_;
    server::Action action_;
    std::map<std::pair<std::string, std::string>, ItemVerdict> known_;  // by owner and id
};

// "<key id>/<version>", as records name one.
std::string key_word(const MasterKeyVersion& key);

// The master key versions of an item, as key_word() has them; empty where there is none.
struct ItemKeys {
    std::string made{};  // under which it is sealed now
    std::string key{};   // with which it was opened
};

// {"results":[…]}, one for each item in order. `resource`, here and below, is what the audit record
// calls the item; neither it nor the keys may hold anything of a secret.
class ItemAnswers {
public:
    explicit ItemAnswers(server::Operation& operation);

    // The next item is done; its result must be written into what this returns.
    base::JsonWriter& add(std::string resource, ItemKeys keys, const ItemVerdict& verdict);
    // The next item failed: {"error":{"code","message"}}.
    void add_error(std::string resource, const base::Error& error, const ItemVerdict& verdict);

    // To be called once, in the end.
    server::Response take();

private:
    void note(std::string resource, std::string_view outcome, ItemKeys keys,
              const ItemVerdict& verdict);

    server::Operation& operation_;
    base::JsonWriter out_;
    std::size_t next_ = 0;
};

}  // namespace vault
