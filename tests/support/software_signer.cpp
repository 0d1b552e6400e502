#include "tests/support/software_signer.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <condition_variable>
#include <mutex>

#include "base/error.h"

namespace tests {

struct SoftwareSigner::Key {
    EVP_PKEY* key = nullptr;
    std::mutex mutex;
    std::condition_variable changed;
    bool fails = false;
    bool hangs = false;
    int signatures = 0;
    ~Key() { EVP_PKEY_free(key); }
};

SoftwareSigner::SoftwareSigner(server::NoteAlgorithm algorithm) : key_(std::make_shared<Key>()) {
    key_->key = algorithm == server::NoteAlgorithm::ed25519
                    ? EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519")
                    : EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256");
}

SoftwareSigner::SoftwareSigner(const std::string& pem) : key_(std::make_shared<Key>()) {
    BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
    key_->key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
}

SoftwareSigner::~SoftwareSigner() = default;

server::NoteAlgorithm SoftwareSigner::algorithm() const {
    return EVP_PKEY_is_a(key_->key, "ED25519") == 1 ? server::NoteAlgorithm::ed25519
                                                    : server::NoteAlgorithm::ecdsa_p256;
}

base::Bytes SoftwareSigner::public_key() {
    unsigned char* der = nullptr;
    const int size = i2d_PUBKEY(key_->key, &der);
    base::Bytes bytes(der, der + size);
    OPENSSL_free(der);
    return bytes;
}

base::Bytes SoftwareSigner::sign(std::string_view text) {
    {
        std::unique_lock lock(key_->mutex);
        key_->changed.wait(lock, [this] { return !key_->hangs; });
        if (key_->fails) {
            throw base::Error(base::ErrorCode::unavailable, "the token is not available");
        }
        ++key_->signatures;
    }
    const EVP_MD* digest = algorithm() == server::NoteAlgorithm::ed25519 ? nullptr : EVP_sha256();
    EVP_MD_CTX* context = EVP_MD_CTX_new();
    const base::ByteView bytes = base::as_bytes(text);
    std::size_t size = 0;
    EVP_DigestSignInit(context, nullptr, digest, nullptr, key_->key);
    EVP_DigestSign(context, nullptr, &size, bytes.data(), bytes.size());
    base::Bytes signature(size);
    EVP_DigestSign(context, signature.data(), &size, bytes.data(), bytes.size());
    signature.resize(size);
    EVP_MD_CTX_free(context);
    return signature;
}

std::string SoftwareSigner::private_pem() const {
    BIO* bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, key_->key, nullptr, nullptr, 0, nullptr, nullptr);
    char* text = nullptr;
    const long size = BIO_get_mem_data(bio, &text);
    std::string pem(text, static_cast<std::size_t>(size));
    BIO_free(bio);
    return pem;
}

void SoftwareSigner::fail(bool fails) {
    const std::lock_guard lock(key_->mutex);
    key_->fails = fails;
}

void SoftwareSigner::hang(bool hangs) {
    const std::lock_guard lock(key_->mutex);
    key_->hangs = hangs;
    key_->changed.notify_all();
}

int SoftwareSigner::signatures() const {
    const std::lock_guard lock(key_->mutex);
    return key_->signatures;
}

std::unique_ptr<server::CheckpointSigner> SoftwareSigner::share() const {
    return std::unique_ptr<server::CheckpointSigner>(new SoftwareSigner(key_));
}

}  // namespace tests
