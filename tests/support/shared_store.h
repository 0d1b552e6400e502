// A store as several nodes see it: every node has its own view of one store, and a view can lose
// the connection.
#pragma once

#include <atomic>

#include "base/error.h"
#include "kms/store.h"

namespace tests {

// Thread-safe. `store` must outlive it.
class SharedStore final : public kms::Store {
public:
    explicit SharedStore(kms::Store& store) : store_(store) {}

    std::atomic<bool> is_away{false};  // every call throws unavailable

    std::vector<kms::Key> load() override { return there().load(); }
    std::optional<kms::Key> find(const base::Uuid& id) override { return there().find(id); }
    bool is_shared() const override { return true; }
    std::uint64_t change_count() override { return there().change_count(); }
    Changes load_changed(std::uint64_t since) override { return there().load_changed(since); }
    void add_pending_key(const kms::Key& key, const std::string& holder = {}) override {
        there().add_pending_key(key, holder);
    }
    void enable_key(const base::Uuid& key_id, const hsm::Encrypted& known_answer,
                    const std::string& alias, const std::string& holder = {}) override {
        there().enable_key(key_id, known_answer, alias, holder);
    }
    void abandon_key(const base::Uuid& key_id, base::Time at, const std::string& tombstone,
                     const std::string& holder = {}) override {
        there().abandon_key(key_id, at, tombstone, holder);
    }
    void add_pending_version(const base::Uuid& key_id, const kms::KeyVersion& version,
                             const std::string& holder = {}) override {
        there().add_pending_version(key_id, version, holder);
    }
    void enable_version(const base::Uuid& key_id, std::uint32_t version,
                        const hsm::Encrypted& known_answer,
                        std::optional<base::Time> next_rotation_at,
                        const std::string& holder = {}) override {
        there().enable_version(key_id, version, known_answer, next_rotation_at, holder);
    }
    void abandon_version(const base::Uuid& key_id, std::uint32_t version, base::Time at,
                         const std::string& tombstone, const std::string& holder = {}) override {
        there().abandon_version(key_id, version, at, tombstone, holder);
    }
    bool update(const kms::Key& key, const std::string& request = {}) override {
        return there().update(key, request);
    }
    bool move_alias(const std::string& alias, const base::Uuid& from, const base::Uuid& to,
                    const std::string& request = {}) override {
        return there().move_alias(alias, from, to, request);
    }
    bool finish_destruction(const kms::Key& key, const std::string& tombstone,
                            const std::string& holder = {}) override {
        return there().finish_destruction(key, tombstone, holder);
    }
    std::string tombstone(const base::Uuid& key_id) override { return there().tombstone(key_id); }
    std::map<std::uint32_t, std::string> version_tombstones(const base::Uuid& key_id) override {
        return there().version_tombstones(key_id);
    }
    kms::Reservation reserve_wraps(const base::Uuid& key_id, std::uint32_t version,
                                   std::uint64_t count) override {
        return there().reserve_wraps(key_id, version, count);
    }
    void add_usage(std::span<const kms::UsageReport> reports) override {
        there().add_usage(reports);
    }
    std::optional<kms::VersionName> find_version_of(const std::string& request) override {
        return there().find_version_of(request);
    }
    std::optional<server::IdempotentRequest> find_request(const std::string& id) override {
        return there().find_request(id);
    }
    void begin_request(const server::IdempotentRequest& request) override {
        there().begin_request(request);
    }
    bool take_over_request(const std::string& id, const std::string& from_node,
                           const std::string& to_node, base::Time at) override {
        return there().take_over_request(id, from_node, to_node, at);
    }
    void finish_request(const std::string& id, unsigned status,
                        const std::string& answer) override {
        there().finish_request(id, status, answer);
    }
    std::size_t forget_requests(base::Time time) override { return there().forget_requests(time); }
    bool take_lock(const std::string& holder, base::Time now, base::Time until) override {
        return there().take_lock(holder, now, until);
    }
    bool keep_lock(const std::string& holder, base::Time until) override {
        return there().keep_lock(holder, until);
    }
    void release_lock(const std::string& holder) override { there().release_lock(holder); }
    void check() override { there().check(); }

private:
    kms::Store& there() const {
        if (!is_away) return store_;
        throw base::Error(base::ErrorCode::unavailable, "the store is not available");
    }

    kms::Store& store_;
};

}  // namespace tests
