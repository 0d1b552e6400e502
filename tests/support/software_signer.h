// A CheckpointSigner whose key is in this process, for tests: the real ones keep theirs in a token.
#pragma once

#include <memory>
#include <string>

#include "server/checkpoint.h"

namespace tests {

// Thread-safe. A test can make it fail or hang.
class SoftwareSigner final : public server::CheckpointSigner {
public:
    explicit SoftwareSigner(server::NoteAlgorithm algorithm);
    // The private key in PEM.
    explicit SoftwareSigner(const std::string& pem);
    ~SoftwareSigner() override;

    server::NoteAlgorithm algorithm() const;
    base::Bytes public_key() override;
    base::Bytes sign(std::string_view text) override;

    std::string private_pem() const;
    server::NoteKey note_key() { return server::NoteKey::from_der(public_key()); }

    void fail(bool fails);
    void hang(bool hangs);
    int signatures() const;
    // Another signer with the same key and the same switches, for who wants to own one.
    std::unique_ptr<server::CheckpointSigner> share() const;

private:
    struct Key;
    explicit SoftwareSigner(std::shared_ptr<Key> key) : key_(std::move(key)) {}
    std::shared_ptr<Key> key_;
};

}  // namespace tests
