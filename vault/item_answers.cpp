#include "vault/item_answers.h"

#include "server/answer.h"

namespace vault {

using base::Error;
using base::ErrorCode;

std::string to_positions(const std::vector<std::size_t>& items) {
    std::string positions;
    for (const std::size_t item : items) {
        if (!positions.empty()) positions += ',';
        positions += std::to_string(item);
    }
    return positions;
}

void note_data_keys(server::Operation& operation, const std::vector<std::size_t>& from_cache) {
    if (!from_cache.empty()) operation.set_fact("data_keys_from_cache", to_positions(from_cache));
}

void ItemRights::require_any(const server::Resource& named) const {
    if (authorizer_.may_ever(operation_, action_)) return;
    static_cast<void>(authorizer_.authorize(operation_, action_, named));
}

const ItemVerdict& ItemRights::to(const server::Resource& resource) {
    const auto [place, is_new] = known_.try_emplace(std::pair(resource.owner, resource.id));
    ItemVerdict& verdict = place->second;
    if (!is_new) return verdict;
    verdict.decision = operation_.decided().size();
    try {
        verdict.grant = authorizer_.authorize(operation_, action_, resource);
    } catch (const Error& error) {
        if (error.code() != ErrorCode::permission_denied) throw;
        verdict.error = error;
    }
    return verdict;
}

std::string key_word(const MasterKeyVersion& key) {
    return key.key_id.to_string() + "/" + std::to_string(key.version);
}

ItemAnswers::ItemAnswers(server::Operation& operation) : operation_(operation) {
    out_.begin_object().name("results").begin_array();
}

base::JsonWriter& ItemAnswers::add(std::string resource, ItemKeys keys,
                                   const ItemVerdict& verdict) {
    note(std::move(resource), "ok", std::move(keys), verdict);
    return out_;
}

void ItemAnswers::add_error(std::string resource, const Error& error, const ItemVerdict& verdict) {
    note(std::move(resource), base::to_string(error.code()), {}, verdict);
    out_.begin_object().name("error").begin_object();
    out_.field("code", base::to_string(error.code())).field("message", error.message());
    out_.end_object().end_object();
}

server::Response ItemAnswers::take() {
    out_.end_array().end_object();
    return server::json_answer(std::move(out_));
}

void ItemAnswers::note(std::string resource, std::string_view outcome, ItemKeys keys,
                       const ItemVerdict& verdict) {
    operation_.add_item({std::move(resource),
                         std::string(outcome),
                         std::move(keys.made),
                         std::to_string(next_++),
                         verdict.decision,
                         {},
                         std::move(keys.key)});
}

}  // namespace vault
