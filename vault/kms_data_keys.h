// DataKeys by calls to the key service.
#pragma once

#include "kms/client/client.h"
#include "vault/data_keys.h"

namespace vault {

// `client` must outlive it.
class KmsDataKeys final : public DataKeys {
public:
    // `master_key` is a key id or "alias/<name>".
    KmsDataKeys(kms::Client& client, std::string master_key);

    DataKey create(const KeyContext& context, const std::string& traceparent) override;
    base::SecretBytes unwrap(base::ByteView wrapped, const KeyContext& context,
                             const std::string& traceparent) override;
    void check() override;

private:
    kms::Client& client_;
    std::string master_key_;
};

}  // namespace vault
