// Where imported records go: credentials of the vault, or sealed values in a file. Whatever is
// taken was opened again and compared before it counts.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kms/client/client.h"
#include "vault/import/decoder.h"

namespace vault {

inline constexpr std::size_t max_import_batch = 100;
inline constexpr std::size_t max_import_batch_bytes = 1024UL * 1024;  // of its secrets

// What became of one record.
struct ImportOutcome {
    enum class Kind { imported, already_there, without_secret, failed };
    Kind kind = Kind::failed;
    std::string reason{};  // of failed; quotes nothing of the record
};

// Not thread-safe.
class ImportTarget {
public:
    virtual ~ImportTarget() = default;
    // Whether records without a secret are taken as well, each in its place.
    virtual bool takes_every_record() const { return false; }
    // One outcome for each, in order; at most max_import_batch of together max_import_batch_bytes.
    // Throws when going on makes no sense: the vault is away for longer than the patience, knows
    // the caller not, or the disk is full.
    virtual std::vector<ImportOutcome> take(std::span<const ImportItem> items) = 0;
    // Puts on disk what was taken; how long the output file is. Throws unavailable.
    virtual std::uint64_t flush() = 0;
};

struct TargetOptions {
    bool replace = false;     // a credential that is there with another secret gets a next version
    std::size_t workers = 4;  // requests at the same time
    std::chrono::seconds patience{60};
    std::string reason{};  // for revealing, where the vault asks for one; empty: none
};

// Stores each as a credential's first version and reveals it again. `client` must outlive it.
std::unique_ptr<ImportTarget> credential_target(kms::Client& client, const TargetOptions& options);

// Seals each and writes its record with the sealed value in `column` as a line of JSON into `file`,
// of mode 0600: an object, or a text where the column held a text. A record without a secret is
// written as it is, so that the file can take the source's place. `bytes` and what is thrown: as
// OutputFile.
std::unique_ptr<ImportTarget> value_target(kms::Client& client, const TargetOptions& options,
                                           const std::filesystem::path& file,
                                           std::optional<std::uint64_t> bytes,
                                           const std::string& column);

// Of values: sealed, opened again and compared; in order. `sealed` is empty when it failed, and for
// an item without a secret.
struct CheckedSeal {
    std::optional<base::JsonValue> sealed;  // an object
    ImportOutcome outcome;
};
std::vector<CheckedSeal> seal_and_check(kms::Client& client, std::chrono::seconds patience,
                                        std::span<const ImportItem> items);

}  // namespace vault
