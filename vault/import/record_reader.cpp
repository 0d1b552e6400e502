#include "vault/import/record_reader.h"

#include <algorithm>
#include <set>
#include <vector>

#include "base/encoding.h"
#include "base/error.h"
#include "vault/import/file_bytes.h"

namespace vault {
namespace {

using base::Error;
using base::ErrorCode;
using base::JsonValue;

constexpr base::JsonLimits record_limits{.bytes = max_record_bytes, .depth = 24};
constexpr const char* too_long = "the record has more than 1 MiB";
constexpr const char* malformed = "the record is malformed JSON";
constexpr const char* no_object = "the record is no JSON object";
constexpr const char* cut_short = "the file ends within the record";

using Content = std::variant<JsonValue, Unreadable>;

Content parse_record(std::string_view text) {
    try {
        JsonValue value = base::parse_json(text, record_limits);
        if (value.object() == nullptr) return Unreadable{no_object};
        return value;
    } catch (const Error&) {
        return Unreadable{malformed};  // the message may quote what is in there
    }
}

bool is_space(int byte) { return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n'; }

// What all of them do: the file, numbers, positions.
class FileReader : public RecordReader {
public:
    FileReader(const std::filesystem::path& file, const ReaderPosition& from)
        : bytes_(file, from.offset), position_(from), is_over_(from.is_over) {
        bytes_.set_line(from.line);
        if (from.offset == 0) skip_mark();
    }

    std::optional<SourceRecord> next() final {
        if (is_over_ || !find_record()) {
            is_over_ = true;
            return std::nullopt;
        }
        SourceRecord record;
        record.number = ++position_.records;
        record.line = bytes_.line();
        record.content = read_record();
        position_.offset = bytes_.offset();
        position_.line = bytes_.line();
        position_.is_over = is_over_;
        return record;
    }
    ReaderPosition position() const final { return position_; }

protected:
    // Skips to where a record begins; false when there is none any more.
    virtual bool find_record() = 0;
    virtual Content read_record() = 0;

    FileBytes& bytes() { return bytes_; }
    void end_here() { is_over_ = true; }
    void skip_spaces() {
        while (is_space(bytes_.peek())) bytes_.take();
    }

private:
    // The byte order mark of UTF-8, which spreadsheets write.
    void skip_mark() {
        if (bytes_.peek() != 0xEF) return;
        for (int i = 0; i < 3; ++i) bytes_.take();
    }

    FileBytes bytes_;
    ReaderPosition position_;
    bool is_over_;
};

class LineReader final : public FileReader {
public:
    using FileReader::FileReader;

private:
    bool find_record() override {
        skip_spaces();
        return bytes().peek() != FileBytes::end;
    }

    Content read_record() override {
        base::WipedString line;
        bool fits = true;
        for (int byte = bytes().take(); byte != FileBytes::end && byte != '\n';
             byte = bytes().take()) {
            fits = fits && line.size() < max_record_bytes;
            if (fits) line += static_cast<char>(byte);
        }
        if (!fits) return Unreadable{too_long};
        return parse_record(line);
    }
};

// Cuts the elements out by their brackets: a malformed one spoils nothing but itself as long as its
// brackets and quotes fit.
class ArrayReader final : public FileReader {
public:
    ArrayReader(const std::filesystem::path& file, const ReaderPosition& from)
        : FileReader(file, from), is_first_(from.offset == 0) {
        if (!is_first_) return;
        skip_spaces();
        if (bytes().take() != '[')
            throw Error(ErrorCode::invalid_argument, file.string() + " is no JSON array");
    }

private:
    bool find_record() override {
        skip_spaces();
        if (!is_first_ && bytes().peek() == ',') {
            bytes().take();
            skip_spaces();
            return true;
        }
        if (bytes().peek() == ']') {
            bytes().take();
            skip_spaces();
            trouble_ = "something stands behind the array's end; it is not read";
            return bytes().peek() != FileBytes::end;
        }
        if (!is_first_) trouble_ = "no comma stands behind the record before; reading ends here";
        return true;
    }

    Content read_record() override {
        is_first_ = false;
        if (trouble_ != nullptr || bytes().peek() == FileBytes::end) {
            end_here();
            return Unreadable{bytes().peek() == FileBytes::end ? "the file ends within the array"
                                                               : trouble_};
        }
        base::WipedString text;
        bool fits = true;
        std::size_t depth = 0;
        bool in_text = false;
        for (;;) {
            const int byte = bytes().peek();
            const bool at_end = depth == 0 && !in_text && (byte == ',' || byte == ']');
            if (at_end) break;
            if (byte == FileBytes::end) {
                end_here();
                return Unreadable{cut_short};
            }
            bytes().take();
            fits = fits && text.size() + 1 < max_record_bytes;
            if (fits) text += static_cast<char>(byte);
            if (in_text && byte == '\\') {
                const int escaped = bytes().take();
                if (fits && escaped != FileBytes::end) text += static_cast<char>(escaped);
            } else if (byte == '"') {
                in_text = !in_text;
            } else if (!in_text && (byte == '{' || byte == '[')) {
                ++depth;
            } else if (!in_text && depth > 0 && (byte == '}' || byte == ']') && --depth == 0) {
                break;
            }
        }
        if (!fits) return Unreadable{too_long};
        return parse_record(text);
    }

    bool is_first_;
    const char* trouble_ = nullptr;  // why nothing more can be read
};

class CsvReader final : public FileReader {
public:
    CsvReader(const std::filesystem::path& file, const ReaderPosition& from, char delimiter)
        : FileReader(file, from), delimiter_(static_cast<unsigned char>(delimiter)) {
        if (from.offset == 0) {
            read_headings(*this, file);
        } else {
            CsvReader beginning(file, {}, delimiter);
            headings_ = std::move(beginning.headings_);
        }
    }

    std::optional<std::vector<std::string>> columns() const override {
        return std::vector<std::string>(headings_.begin(), headings_.end());
    }

private:
    void read_headings(CsvReader& from, const std::filesystem::path& file) {
        const auto refuse = [&file](const char* why) {
            throw Error(ErrorCode::invalid_argument, file.string() + ": the headings " + why);
        };
        if (from.bytes().peek() == FileBytes::end) refuse("are missing");
        auto row = from.read_row();
        if (!row) refuse("are malformed");
        std::set<std::string> seen;
        for (const auto& name : *row) {
            if (name.empty()) refuse("have one that is empty");
            if (!seen.insert(std::string(name)).second) refuse("have one twice");
            if (!base::is_utf8(name)) refuse("are no UTF-8");
        }
        headings_ = std::move(*row);
    }

    bool find_record() override {
        while (bytes().peek() == '\n' || bytes().peek() == '\r') bytes().take();
        return bytes().peek() != FileBytes::end;
    }

    Content read_record() override {
        auto row = read_row();
        if (!row) return Unreadable{row_fits_ ? "the quotes of the record don't fit" : too_long};
        if (row->size() != headings_.size())
            return Unreadable{"the record has another number of fields than the headings"};
        JsonValue::Object members;
        for (std::size_t i = 0; i < headings_.size(); ++i) {
            if (!base::is_utf8((*row)[i])) return Unreadable{"the record is no UTF-8"};
            members.push_back({headings_[i], JsonValue(std::move((*row)[i]))});
        }
        return JsonValue(std::move(members));
    }

    // One row, with the line end behind it. Empty when it is malformed or too long.
    std::optional<std::vector<base::WipedString>> read_row() {
        std::vector<base::WipedString> row(1);
        std::size_t size = 0;
        bool well_formed = true;
        row_fits_ = true;
        const auto add = [&](int byte) {
            row_fits_ = row_fits_ && ++size <= max_record_bytes;
            if (row_fits_) row.back() += static_cast<char>(byte);
        };
        for (int byte = bytes().take(); byte != FileBytes::end && byte != '\n';
             byte = bytes().take()) {
            if (byte == delimiter_) {
                row.emplace_back();
            } else if (byte == '\r' &&
                       (bytes().peek() == '\n' || bytes().peek() == FileBytes::end)) {
                continue;
            } else if (byte == '"' && row.back().empty()) {
                well_formed = read_quoted(add) && well_formed;
            } else {
                well_formed = well_formed && byte != '"';
                add(byte);
            }
        }
        if (!well_formed || !row_fits_) return std::nullopt;
        return row;
    }

    // Up to the closing quote, behind which a delimiter or the line's end must stand.
    template <typename Add>
    bool read_quoted(const Add& add) {
        for (int byte = bytes().take(); byte != FileBytes::end; byte = bytes().take()) {
            if (byte != '"') {
                add(byte);
            } else if (bytes().peek() == '"') {
                add(bytes().take());
            } else {
                const int behind = bytes().peek();
                return behind == delimiter_ || behind == '\n' || behind == '\r' ||
                       behind == FileBytes::end;
            }
        }
        return false;
    }

    const int delimiter_;
    std::vector<base::WipedString> headings_;
    bool row_fits_ = true;
};

}  // namespace

RecordSyntax guess_syntax(const std::filesystem::path& file) {
    std::string ending = file.extension().string();
    std::transform(ending.begin(), ending.end(), ending.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    if (ending == ".csv" || ending == ".tsv") return RecordSyntax::csv;
    if (ending != ".json") return RecordSyntax::json_lines;
    FileBytes bytes(file, 0);
    while (is_space(bytes.peek()) || bytes.peek() > 0x7F) bytes.take();
    return bytes.peek() == '[' ? RecordSyntax::json_array : RecordSyntax::json_lines;
}

std::unique_ptr<RecordReader> open_records(const std::filesystem::path& file, RecordSyntax syntax,
                                           char delimiter, const ReaderPosition& from) {
    switch (syntax) {
        case RecordSyntax::json_lines:
            return std::make_unique<LineReader>(file, from);
        case RecordSyntax::json_array:
            return std::make_unique<ArrayReader>(file, from);
        case RecordSyntax::csv:
            return std::make_unique<CsvReader>(file, from, delimiter);
    }
    throw Error(ErrorCode::internal, "unknown syntax of records");
}

}  // namespace vault
