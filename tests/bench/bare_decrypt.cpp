// What a token can do with nothing of ours around it: a loop of C_DecryptInit and C_Decrypt over
// the items of a batch, on a session of its own with the key's handle at hand. Batched unwraps are
// read as a ratio to it. With `rewrap` behind it encrypts what it decrypted: what rewrapping is
// read against. In the third form it fills the token with AES keys, to see what their number costs.
//   bench_bare_decrypt MODULE TOKEN_LABEL PIN_FILE TOKEN_KEY_ID THREADS SECONDS [rewrap] <BODY
//   bench_bare_decrypt MODULE TOKEN_LABEL PIN_FILE fill COUNT
// BODY is that of POST /v1/data-keys/unwrap with "items", TOKEN_KEY_ID the CKA_ID in hex. Prints
// items per second. SoftHSM's configuration comes from SOFTHSM2_CONF.
#include <atomic>
#include <chrono>
#include <exception>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <thread>
#include <vector>

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>

#include "base/encoding.h"
#include "base/file.h"
#include "base/json.h"
#include "base/random.h"
#include "kms/envelope.h"

namespace {

using Clock = std::chrono::steady_clock;

void require(CK_RV code, const char* call) {
    if (code != CKR_OK)
        throw std::runtime_error(std::string(call) + " gave " + std::to_string(code));
}

// One item as the token wants it.
struct Work {
    hsm::Iv iv;
    base::Bytes aad;
    base::Bytes ciphertext;
};

std::vector<Work> read_items(const std::string& body) {
    base::JsonLimits limits;
    limits.bytes = body.size();
    const base::JsonValue value = base::parse_json(body, limits);
    base::JsonReader reader(value);
    std::vector<Work> items;
    for (const auto& each : reader.required_array("items", 1000)) {
        base::JsonReader item(each, "items");
        const auto envelope =
            kms::parse_envelope(kms::EnvelopeKind::data_key, item.required_base64("wrapped", 200));
        if (!envelope) throw std::runtime_error("an item is no wrapped data key");
        const kms::Context context(item.optional_string_map("context", 64, 8192));
        items.push_back({envelope->iv,
                         kms::envelope_aad(envelope->kind, envelope->key_id, envelope->key_version,
                                           context.canonical),
                         envelope->ciphertext});
    }
    return items;
}

// A module that is logged in to one token.
class Token {
public:
    Token(const std::string& module, const std::string& label, const std::string& pin_file) {
        void* library = ::dlopen(module.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr) throw std::runtime_error("can't load " + module);
        const auto get =
            reinterpret_cast<CK_C_GetFunctionList>(::dlsym(library, "C_GetFunctionList"));
        require(get(&functions_), "C_GetFunctionList");
        CK_C_INITIALIZE_ARGS arguments{};
        arguments.flags = CKF_OS_LOCKING_OK;
        require(functions_->C_Initialize(&arguments), "C_Initialize");
        slot_ = find_slot(label);
        anchor_ = open_session();
        std::string pin = base::read_file(pin_file, 1000);
        while (!pin.empty() && pin.back() == '\n') pin.pop_back();
        require(functions_->C_Login(anchor_, CKU_USER, reinterpret_cast<CK_BYTE*>(pin.data()),
                                    pin.size()),
                "C_Login");
    }

    CK_SESSION_HANDLE open_session() const {
        CK_SESSION_HANDLE session = 0;
        require(functions_->C_OpenSession(slot_, CKF_SERIAL_SESSION | CKF_RW_SESSION, nullptr,
                                          nullptr, &session),
                "C_OpenSession");
        return session;
    }

    CK_OBJECT_HANDLE find(base::Bytes id) const {
        CK_ATTRIBUTE what{CKA_ID, id.data(), id.size()};
        CK_OBJECT_HANDLE found[2];
        CK_ULONG count = 0;
        require(functions_->C_FindObjectsInit(anchor_, &what, 1), "C_FindObjectsInit");
        require(functions_->C_FindObjects(anchor_, found, 2, &count), "C_FindObjects");
        require(functions_->C_FindObjectsFinal(anchor_), "C_FindObjectsFinal");
        if (count != 1) throw std::runtime_error("the token has no such key");
        return found[0];
    }

    void generate(std::size_t count) const {
        CK_ULONG size = 32;
        CK_BBOOL yes = CK_TRUE;
        for (std::size_t i = 0; i < count; ++i) {
            base::Uuid id = base::Uuid::random();
            base::Bytes id_bytes = base::to_bytes(id.bytes());
            CK_ATTRIBUTE attributes[] = {{CKA_VALUE_LEN, &size, sizeof size},
                                         {CKA_TOKEN, &yes, 1},
                                         {CKA_PRIVATE, &yes, 1},
                                         {CKA_SENSITIVE, &yes, 1},
                                         {CKA_ID, id_bytes.data(), id_bytes.size()}};
            CK_MECHANISM mechanism{CKM_AES_KEY_GEN, nullptr, 0};
            CK_OBJECT_HANDLE key = 0;
            require(functions_->C_GenerateKey(anchor_, &mechanism, attributes, 5, &key),
                    "C_GenerateKey");
        }
    }

    void work(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key, Work& work, bool rewrap) const {
        CK_GCM_PARAMS parameters{};
        parameters.pIv = work.iv.data();
        parameters.ulIvLen = work.iv.size();
        parameters.ulIvBits = work.iv.size() * 8;
        parameters.pAAD = work.aad.data();
        parameters.ulAADLen = work.aad.size();
        parameters.ulTagBits = hsm::tag_bytes * 8;
        CK_MECHANISM mechanism{CKM_AES_GCM, &parameters, sizeof parameters};
        require(functions_->C_DecryptInit(session, &mechanism, key), "C_DecryptInit");
        CK_BYTE plaintext[128];
        CK_ULONG size = sizeof plaintext;
        require(functions_->C_Decrypt(session, work.ciphertext.data(), work.ciphertext.size(),
                                      plaintext, &size),
                "C_Decrypt");
        if (!rewrap) return;
        hsm::Iv iv = work.iv;
        base::random_bytes(iv);
        parameters.pIv = iv.data();
        require(functions_->C_EncryptInit(session, &mechanism, key), "C_EncryptInit");
        CK_BYTE ciphertext[160];
        CK_ULONG length = sizeof ciphertext;
        require(functions_->C_Encrypt(session, plaintext, size, ciphertext, &length), "C_Encrypt");
    }

private:
    CK_SLOT_ID find_slot(const std::string& label) const {
        CK_SLOT_ID slots[16];
        CK_ULONG count = 16;
        require(functions_->C_GetSlotList(CK_TRUE, slots, &count), "C_GetSlotList");
        for (CK_ULONG i = 0; i < count; ++i) {
            CK_TOKEN_INFO info{};
            require(functions_->C_GetTokenInfo(slots[i], &info), "C_GetTokenInfo");
            const std::string name(reinterpret_cast<const char*>(info.label), sizeof info.label);
            if (name.substr(0, name.find_last_not_of(' ') + 1) == label) return slots[i];
        }
        throw std::runtime_error("there is no token " + label);
    }

    CK_FUNCTION_LIST_PTR functions_ = nullptr;
    CK_SLOT_ID slot_ = 0;
    CK_SESSION_HANDLE anchor_ = 0;
};

double items_per_second(const Token& token, CK_OBJECT_HANDLE key, const std::vector<Work>& items,
                        std::size_t threads, std::chrono::seconds duration, bool rewrap) {
    std::atomic<std::uint64_t> done{0};
    const auto begin = Clock::now();
    std::vector<std::thread> workers;
    for (std::size_t i = 0; i < threads; ++i) {
        workers.emplace_back([&] {
            const CK_SESSION_HANDLE session = token.open_session();
            std::vector<Work> mine = items;
            while (Clock::now() - begin < duration) {
                for (Work& work : mine) token.work(session, key, work, rewrap);
                done += mine.size();
            }
        });
    }
    for (auto& worker : workers) worker.join();
    const std::chrono::duration<double> took = Clock::now() - begin;
    return static_cast<double>(done) / took.count();
}

int run(const std::vector<std::string>& words) {
    const Token token(words.at(0), words.at(1), words.at(2));
    if (words.at(3) == "fill") {
        token.generate(std::stoul(words.at(4)));
        return 0;
    }
    const std::string body{std::istreambuf_iterator<char>(std::cin), {}};
    const auto id = base::parse_hex(words.at(3));
    if (!id) throw std::runtime_error("TOKEN_KEY_ID is no hex");
    std::cout << items_per_second(token, token.find(*id), read_items(body), std::stoul(words.at(4)),
                                  std::chrono::seconds(std::stol(words.at(5))), words.size() == 7)
              << '\n';
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 6 || argc > 8 || (argc == 8 && std::string_view(argv[7]) != "rewrap")) {
        std::cerr << "usage: bench_bare_decrypt MODULE TOKEN_LABEL PIN_FILE TOKEN_KEY_ID THREADS "
                     "SECONDS [rewrap] <BODY\n";
        return 2;
    }
    try {
        return run({argv + 1, argv + argc});
    } catch (const std::exception& error) {
        std::cerr << "bench_bare_decrypt: " << error.what() << '\n';
        return 1;
    }
}
