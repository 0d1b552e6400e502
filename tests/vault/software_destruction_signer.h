// A DestructionSigner whose key is in this process.
#pragma once

#include "base/error.h"
#include "tests/support/software_signer.h"
#include "vault/destruction.h"

namespace tests {

class SoftwareDestructionSigner final : public vault::DestructionSigner {
public:
    vault::DestructionSignature sign(std::string_view text,
                                     const std::string& traceparent) override {
        last_traceparent = traceparent;
        if (unavailable) throw base::Error(base::ErrorCode::unavailable, "switched off");
        if (before_answer) before_answer();
        return {key.sign(text), "ed25519", {key_id, 7}};
    }

    SoftwareSigner key{server::NoteAlgorithm::ed25519};
    const base::Uuid key_id = base::Uuid::random();
    bool unavailable = false;
    std::function<void()> before_answer;  // what happens while it signs
    std::string last_traceparent;
};

}  // namespace tests
