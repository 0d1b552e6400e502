// Makes sealed credentials in number, as they lie in vaultd's store, without a call to vaultd for
// each: what a rewrap job can really move.
//   bench_sealed_rows URL PKI OWNER COUNT
// Writes a line for each: name, sealed text, key id, key version, with tabs between. They share a
// data key, wrapped for each place: a bench needs no secrets. A key service that is busy, as one
// whose disk is while the rows are written to it, is asked again for ten minutes.
#include <chrono>
#include <exception>
#include <iostream>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"
#include "kms/client/client.h"
#include "vault/sealed.h"

namespace {

constexpr std::string_view master_key = "alias/credentials";
constexpr std::size_t row_threads = 2;
constexpr std::string_view secret =
    R"({"access_token":"example-000000000000000000000000000000000000000000000000000000000000000000","account_id":"17840000000000000"})";

// As tests/bench/stores.py writes their rows: made at 1 ms after 1970, without metadata and tags.
constexpr base::Time made_at{std::chrono::milliseconds(1)};

vault::SealBinding binding_of(const std::string& owner, std::size_t number) {
    return {
        .owner = owner, .name = "c" + std::to_string(number), .version = 1, .created_at = made_at};
}

vault::AttributesDigest attributes() {
    return vault::attributes_of(
        {.id = {}, .created_at = made_at, .updated_at = made_at, .metadata = "{}", .versions = {}});
}

constexpr std::chrono::minutes patience{10};
constexpr std::chrono::milliseconds between_attempts{250};

// What `call` gives, once the key service has the time for it. Its errors but unavailable are
// thrown.
template <typename Call>
auto with_patience(Call call) {
    const auto end = std::chrono::steady_clock::now() + patience;
    for (;;) {
        try {
            return call();
        } catch (const base::Error& error) {
            if (error.code() != base::ErrorCode::unavailable ||
                std::chrono::steady_clock::now() > end) {
                throw;
            }
        }
        std::this_thread::sleep_for(between_attempts);
    }
}

class Rows {
public:
    Rows(kms::Client& client, std::string owner) : client_(client), owner_(std::move(owner)) {
        auto made = with_patience([this] {
            return client_.create_data_keys(master_key, key_context(binding_of(owner_, 0)));
        });
        first_ = {std::move(made.front().plaintext), std::move(made.front().wrapped),
                  made.front().key_id, made.front().key_version};
    }

    // Of the credentials `first` up to `last`, without that one; at most a call's worth.
    void write(std::size_t first, std::size_t last) {
        std::vector<kms::RewrapItem> items;
        for (std::size_t i = first; i < last; ++i) {
            items.push_back({first_.wrapped, key_context(binding_of(owner_, 0)), "",
                             key_context(binding_of(owner_, i))});
        }
        const auto all_wrapped = with_patience([&] { return rewrap(items); });
        std::string text;
        for (std::size_t i = first; i < last; ++i) {
            const auto& wrapped = all_wrapped[i - first];
            const vault::DataKey key{first_.plaintext.clone(), wrapped.bytes, wrapped.key_id,
                                     wrapped.key_version};
            const auto binding = binding_of(owner_, i);
            const auto sealed = vault::seal(binding, attributes(), key, base::as_bytes(secret));
            text += binding.name + '\t' + to_text(sealed) + '\t' + wrapped.key_id.to_string() +
                    '\t' + std::to_string(wrapped.key_version) + '\n';
        }
        const std::lock_guard lock(mutex_);
        std::cout << text;
    }

private:
    // All of them, or the first error.
    std::vector<kms::Enveloped> rewrap(const std::vector<kms::RewrapItem>& items) {
        std::vector<kms::Enveloped> wrapped;
        for (auto& result : client_.rewrap_many(items)) {
            if (const auto* error = std::get_if<base::Error>(&result)) throw base::Error(*error);
            wrapped.push_back(std::get<kms::Enveloped>(std::move(result)));
        }
        return wrapped;
    }

    kms::Client& client_;
    const std::string owner_;
    vault::DataKey first_;
    std::mutex mutex_;
};

void run(const std::vector<std::string>& words) {
    const std::filesystem::path pki = words.at(1);
    kms::ClientConfig config;
    config.url = words.at(0);
    config.ca = pki / "ca.crt";
    config.certificate = pki / "vaultd.crt";
    config.key = pki / "vaultd.key";
    config.deadline = std::chrono::seconds(60);
    kms::Client client(config);
    const std::size_t count = std::stoul(words.at(3));
    Rows rows(client, words.at(2));
    std::vector<std::thread> threads;
    std::vector<std::exception_ptr> errors(row_threads);
    for (std::size_t mine = 0; mine < row_threads; ++mine) {
        threads.emplace_back([&, mine] {
            try {
                constexpr std::size_t step = kms::max_batch_items;
                for (std::size_t i = mine * step; i < count; i += row_threads * step)
                    rows.write(i, std::min(count, i + step));
            } catch (...) {
                errors[mine] = std::current_exception();
            }
        });
    }
    for (auto& thread : threads) thread.join();
    for (const auto& error : errors) {
        if (error) std::rethrow_exception(error);
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) {
        std::cerr << "usage: bench_sealed_rows URL PKI OWNER COUNT\n";
        return 2;
    }
    try {
        run({argv + 1, argv + argc});
        return 0;
    } catch (const std::exception& error) {
        std::cerr << "bench_sealed_rows: " << error.what() << '\n';
        return 1;
    }
}
