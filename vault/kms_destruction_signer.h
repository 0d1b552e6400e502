// The DestructionSigner that asks the key service.
#pragma once

#include <string>

#include "kms/client/client.h"
#include "vault/destruction.h"

namespace vault {

class KmsDestructionSigner final : public DestructionSigner {
public:
    // `key` is a key id or "alias/<name>" of a key that signs. `client` must outlive it.
    KmsDestructionSigner(kms::Client& client, std::string key)
        : client_(client), key_(std::move(key)) {}

    DestructionSignature sign(std::string_view text, const std::string& traceparent) override;

private:
    kms::Client& client_;
    const std::string key_;
};

}  // namespace vault
