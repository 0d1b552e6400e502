// An audit log as a witness sees it, behind a server::Edge: it grows, forks, is set back and lies
// as it is told.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/encoding.h"
#include "base/json.h"
#include "server/answer.h"
#include "server/checkpoint.h"
#include "server/edge.h"
#include "server/merkle.h"
#include "tests/support/software_signer.h"

namespace tests {

inline constexpr const char* played_origin = "kms-1/strongroom/kmsd";

// An audit log behind the two requests that a witness makes.
class PlayedLog final : public server::RequestHandler {
public:
    // Makes the log so long; a `salt` makes other records of the same number.
    void grow(std::uint64_t size, char salt = 'a') {
        const std::lock_guard lock(mutex_);
        for (std::uint64_t i = leaves_.size(); i < size; ++i) {
            leaves_.push_back(hasher_.leaf(salt + std::to_string(i)));
        }
    }
    // Back to its first records.
    void cut(std::uint64_t size) {
        const std::lock_guard lock(mutex_);
        leaves_.resize(size);
    }
    // As a node of that name.
    void call_it(std::string origin) {
        const std::lock_guard lock(mutex_);
        origin_ = std::move(origin);
    }
    // As a log without checkpoints.
    void hide() {
        const std::lock_guard lock(mutex_);
        hides_ = true;
    }
    int requests() {
        const std::lock_guard lock(mutex_);
        return requests_;
    }
    void give_no_proofs() { refuse_with({base::ErrorCode::unavailable, "away"}); }
    void refuse_with(base::Error error) {
        const std::lock_guard lock(mutex_);
        refusal_ = std::move(error);
    }
    // Whoever asks for the latest checkpoint.
    void answer_with(std::string text) {
        const std::lock_guard lock(mutex_);
        text_ = std::move(text);
    }
    std::string head(std::uint64_t size) {
        const std::lock_guard lock(mutex_);
        const auto root = server::tree_root(size, nodes(), hasher_);
        return origin_ + ' ' + std::to_string(size) + ' ' + base::to_base64(root);
    }
    SoftwareSigner& signer() { return signer_; }

    std::variant<std::size_t, server::Response> admit(const server::Request&) override {
        return std::size_t{0};
    }
    void handle(server::Request request, std::function<void(server::Response)> done) override {
        const std::lock_guard lock(mutex_);
        ++requests_;
        if (hides_) return done(server::error_answer(no_checkpoint(), base::Uuid()));
        if (refusal_) return done(server::error_answer(*refusal_, base::Uuid()));
        server::Response answer;
        if (request.path == "/v1/audit/checkpoint") {
            answer.content_type = "text/plain";
            answer.body = text_ ? *text_ : note();
            return done(answer);
        }
        const std::uint64_t first = std::stoull(request.query_parameters().at("size"));
        base::JsonWriter body;
        body.begin_object().name("proof").begin_array();
        for (const auto& hash :
             server::consistency_proof(first, leaves_.size(), nodes(), hasher_)) {
            body.base64(hash);
        }
        body.end_array().field("checkpoint", note()).end_object();
        done(server::json_answer(std::move(body)));
    }
    server::Response refuse(const server::Request&, const base::Error& error) override {
        return server::error_answer(error, base::Uuid());
    }

private:
    static base::Error no_checkpoint() { return {base::ErrorCode::not_found, "none yet"}; }
    server::MerkleNodes nodes() {
        return [this](unsigned height, std::uint64_t index) { return node(height, index); };
    }
    server::MerkleHash node(unsigned height, std::uint64_t index) {
        if (height == 0) return leaves_.at(index);
        return hasher_.node(node(height - 1, 2 * index), node(height - 1, 2 * index + 1));
    }
    std::string note() {
        const auto root = server::tree_root(leaves_.size(), nodes(), hasher_);
        return server::sign_checkpoint({origin_, leaves_.size(), root}, signer_);
    }

    std::mutex mutex_;
    server::MerkleHasher hasher_;
    std::vector<server::MerkleHash> leaves_;
    int requests_ = 0;
    bool hides_ = false;
    std::string origin_ = played_origin;
    std::optional<base::Error> refusal_;
    std::optional<std::string> text_;
    SoftwareSigner signer_{server::NoteAlgorithm::ed25519};
};

}  // namespace tests
