#include "base/error.h"
#include "vault/import/import_target.h"
#include "vault/import/patience.h"
#include "vault/import/revealed.h"

#include <set>

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;
using Kind = ImportOutcome::Kind;

base::WipedString store_body(const ImportItem& item, std::uint64_t if_version) {
    base::JsonWriter body;
    body.begin_object().field("if_version", if_version);
    if (item.metadata) body.name("metadata").value(*item.metadata);
    if (item.expires_at) body.field("expires_at", *item.expires_at);
    body.name("secret").value(item.secret).end_object();
    return body.take();
}

ImportOutcome refused(const Error& error) {
    return {Kind::failed, std::string(to_string(error.code())) + ": " + error.message()};
}

// Whether it is about this record alone.
bool is_of_the_record(ErrorCode code) {
    return code == ErrorCode::invalid_argument || code == ErrorCode::permission_denied ||
           code == ErrorCode::payload_too_large || code == ErrorCode::internal;
}

class CredentialTarget final : public ImportTarget {
public:
    CredentialTarget(kms::Client& client, const TargetOptions& options)
        : client_(client), options_(options) {}

    std::vector<ImportOutcome> take(std::span<const ImportItem> items) override {
        std::vector<ImportOutcome> outcomes;
        outcomes.reserve(items.size());
        while (!items.empty()) {
            // A name that comes twice is a matter of order, so the second waits for the first.
            std::set<std::pair<std::string_view, std::string_view>> names;
            std::size_t count = 0;
            while (count < items.size() &&
                   names.emplace(items[count].owner, items[count].name).second) {
                ++count;
            }
            for (auto& outcome : take_different(items.first(count)))
                outcomes.push_back(std::move(outcome));
            items = items.subspan(count);
        }
        return outcomes;
    }

    std::uint64_t flush() override { return 0; }

private:
    // One on its way.
    struct Job {
        const ImportItem* item;
        std::size_t position;
        std::uint64_t if_version = 0;
        bool is_stored = false;  // by us, as far as the vault said
    };

    std::vector<ImportOutcome> take_different(std::span<const ImportItem> items) {
        std::vector<ImportOutcome> outcomes(items.size());
        std::vector<Job> jobs;
        jobs.reserve(items.size());
        for (std::size_t i = 0; i < items.size(); ++i) jobs.push_back({&items[i], i});
        // The second time is for what is there already and to be replaced.
        for (int round = 0; round < 2 && !jobs.empty(); ++round) {
            store(jobs, outcomes);
            jobs = check(jobs, outcomes, options_.replace && round == 0);
        }
        return outcomes;
    }

    // Leaves in `jobs` those that are in the vault, stored now or before.
    void store(std::vector<Job>& jobs, std::vector<ImportOutcome>& outcomes) {
        std::vector<char> is_there(jobs.size(), 0);
        in_parallel(options_.workers, jobs.size(), [&](std::size_t i) {
            is_there[i] = store_one(jobs[i], outcomes[jobs[i].position]) ? 1 : 0;
        });
        std::vector<Job> left;
        for (std::size_t i = 0; i < jobs.size(); ++i) {
            if (is_there[i] != 0) left.push_back(jobs[i]);
        }
        jobs = std::move(left);
    }

    bool store_one(Job& job, ImportOutcome& outcome) {
        const ImportItem& item = *job.item;
        const std::string path = "/v1/owners/" + kms::path_segment(item.owner) + "/credentials/" +
                                 kms::path_segment(item.name);
        const base::WipedString body = store_body(item, job.if_version);
        kms::CallOptions options;
        options.repeatable = true;  // by if_version: the second time it is refused
        try {
            with_patience(options_.patience, [&] { client_.call("PUT", path, body, options); });
        } catch (const Error& error) {
            if (error.code() == ErrorCode::failed_precondition) return true;
            if (!is_of_the_record(error.code())) throw;
            outcome = refused(error);
            return false;
        }
        job.is_stored = true;
        return true;
    }

    // Settles the outcomes of `jobs`; returns those to be stored again over what is there.
    std::vector<Job> check(const std::vector<Job>& jobs, std::vector<ImportOutcome>& outcomes,
                           bool may_replace) {
        std::vector<const ImportItem*> items;
        items.reserve(jobs.size());
        for (const Job& job : jobs) items.push_back(job.item);
        const auto results =
            reveal_items(client_, items, {options_.workers, options_.patience, options_.reason});
        std::vector<Job> again;
        for (std::size_t i = 0; i < jobs.size(); ++i) {
            const Job& job = jobs[i];
            ImportOutcome& outcome = outcomes[job.position];
            if (const auto* error = std::get_if<Error>(&results[i])) {
                outcome = refused(*error);
                outcome.reason = "it can't be opened for the comparison: " + outcome.reason;
                continue;
            }
            const auto& found = std::get<RevealedCredential>(results[i]);
            const char* other = difference(*job.item, found);
            if (other == nullptr) {
                outcome = {job.is_stored ? Kind::imported : Kind::already_there};
            } else if (job.is_stored) {
                outcome = {Kind::failed, std::string("opened again, it has ") + other};
            } else if (may_replace) {
                again.push_back({job.item, job.position, found.version});
            } else {
                outcome = {Kind::failed, std::string("it is there already with ") + other +
                                             "; --replace stores a next version"};
            }
        }
        return again;
    }

    kms::Client& client_;
    const TargetOptions options_;
};

}  // namespace

std::unique_ptr<ImportTarget> credential_target(kms::Client& client, const TargetOptions& options) {
    return std::make_unique<CredentialTarget>(client, options);
}

}  // namespace vault
