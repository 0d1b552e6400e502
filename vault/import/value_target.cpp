#include "base/error.h"
#include "vault/client/value_calls.h"
#include "vault/import/import_target.h"
#include "vault/import/output_file.h"
#include "vault/import/patience.h"
#include "vault/import/revealed.h"

namespace vault {
namespace {

using base::Error;
using base::JsonValue;

class ValueTarget final : public ImportTarget {
public:
    ValueTarget(kms::Client& client, const TargetOptions& options,
                const std::filesystem::path& file, std::optional<std::uint64_t> bytes,
                std::string column)
        : client_(client), options_(options), out_(file, bytes), column_(std::move(column)) {}

    bool takes_every_record() const override { return true; }

    std::vector<ImportOutcome> take(std::span<const ImportItem> items) override {
        auto checked = seal_and_check(client_, options_.patience, items);
        std::vector<ImportOutcome> outcomes;
        outcomes.reserve(items.size());
        base::WipedString lines;
        for (std::size_t i = 0; i < items.size(); ++i) {
            if (checked[i].sealed) {
                lines += line_of(items[i].record, std::move(*checked[i].sealed));
                lines += '\n';
            } else if (!items[i].has_secret) {
                lines += base::to_json(items[i].record);
                lines += '\n';
            }
            outcomes.push_back(std::move(checked[i].outcome));
        }
        out_.write(lines);
        return outcomes;
    }

    std::uint64_t flush() override { return out_.sync(); }

private:
    base::WipedString line_of(const JsonValue& record, JsonValue sealed) const {
        const JsonValue* held = find_column(record, column_);
        if (held != nullptr && held->string() != nullptr) sealed = JsonValue(base::to_json(sealed));
        return base::to_json(with_column(record, column_, std::move(sealed)));
    }

    kms::Client& client_;
    const TargetOptions options_;
    OutputFile out_;
    const std::string column_;
};

ImportOutcome failed_by(const Error& error) {
    return {ImportOutcome::Kind::failed,
            std::string(to_string(error.code())) + ": " + error.message()};
}

// What opening says of the sealed value of `item`.
ImportOutcome judge(const ImportItem& item, const OpenResult& opened) {
    if (const auto* error = std::get_if<Error>(&opened)) {
        ImportOutcome outcome = failed_by(*error);
        outcome.reason = "sealed, it does not open: " + outcome.reason;
        return outcome;
    }
    const auto& answer = std::get<OpenAnswer>(opened);
    if (!answer.sealed) return {ImportOutcome::Kind::failed, "what the vault sealed is plaintext"};
    if (item.is_sealed) return {ImportOutcome::Kind::already_there};
    if (is_same_json(item.secret, answer.value)) return {ImportOutcome::Kind::imported};
    return {ImportOutcome::Kind::failed, "opened again, it has another secret"};
}

}  // namespace

std::vector<CheckedSeal> seal_and_check(kms::Client& client, std::chrono::seconds patience,
                                        std::span<const ImportItem> items) {
    std::vector<CheckedSeal> out(items.size());
    std::vector<GivenValue> values;
    std::vector<std::size_t> given;  // the positions of `values` in `items`
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (!items[i].has_secret) {
            out[i].outcome.kind = ImportOutcome::Kind::without_secret;
            continue;
        }
        values.push_back({&items[i].secret, items[i].context});
        given.push_back(i);
    }
    std::vector<SealResult> sealed;
    with_patience(patience, [&] { sealed = seal_values(client, values); });
    std::vector<GivenValue> to_open;
    std::vector<std::size_t> positions;  // of `to_open` in `given` and `sealed`
    for (std::size_t i = 0; i < given.size(); ++i) {
        if (const auto* error = std::get_if<Error>(&sealed[i])) {
            out[given[i]].outcome = failed_by(*error);
            continue;
        }
        to_open.push_back({&std::get<SealAnswer>(sealed[i]).value, items[given[i]].context});
        positions.push_back(i);
    }
    std::vector<OpenResult> opened;
    with_patience(patience, [&] { opened = open_values(client, to_open); });
    for (std::size_t i = 0; i < positions.size(); ++i) {
        const std::size_t item = given[positions[i]];
        CheckedSeal& one = out[item];
        one.outcome = judge(items[item], opened[i]);
        if (one.outcome.kind != ImportOutcome::Kind::failed)
            one.sealed = std::move(std::get<SealAnswer>(sealed[positions[i]]).value);
    }
    return out;
}

std::unique_ptr<ImportTarget> value_target(kms::Client& client, const TargetOptions& options,
                                           const std::filesystem::path& file,
                                           std::optional<std::uint64_t> bytes,
                                           const std::string& column) {
    return std::make_unique<ValueTarget>(client, options, file, bytes, column);
}

}  // namespace vault
