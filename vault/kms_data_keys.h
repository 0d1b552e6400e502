// DataKeys by calls to the key service.
#pragma once

#include <chrono>
#include <mutex>

#include "kms/client/client.h"
#include "vault/data_keys.h"
#include "vault/shared_unwraps.h"

namespace vault {

// `client` must outlive it.
class KmsDataKeys final : public DataKeys {
public:
    // `master_key` is a key id or "alias/<name>".
    KmsDataKeys(kms::Client& client, std::string master_key);

    DataKey create(const KeyContext& context, const std::string& traceparent) override;
    base::SecretBytes unwrap(base::ByteView wrapped, const KeyContext& context,
                             const std::string& traceparent) override;
    std::vector<DataKey> create_many(const KeyContext& context, std::size_t count,
                                     const std::string& traceparent) override;
    std::vector<UnwrapOutcome> unwrap_many(std::span<const WrappedKey> items,
                                           const std::string& traceparent) override;
    std::vector<RewrapOutcome> rewrap_many(std::span<const WrappedKey> items,
                                           const std::string& traceparent) override;
    std::optional<MasterKeyVersion> newest(const std::string& traceparent) override;
    MasterKeyVersion newest_now(const std::string& traceparent) override;
    void check() override;

private:
    std::vector<UnwrapOutcome> unwrap_shared(std::span<const WrappedKey> items);
    void remember(std::optional<MasterKeyVersion> newest);

    kms::Client& client_;
    std::string master_key_;
    SharedUnwraps shared_;

    std::mutex mutex_;
    std::optional<MasterKeyVersion> newest_;
    std::optional<std::chrono::steady_clock::time_point> newest_until_;
};

}  // namespace vault
