#include "hsm/worker_protocol.h"

#include <array>
#include <utility>

#include "hsm/worker_fields.h"

namespace hsm {
namespace {

constexpr auto last_error_code = base::ErrorCode::header_fields_too_large;

using ReadFields = WorkerRequest (*)(WireReader&);

template <std::size_t... Place>
constexpr auto readers_of_all(std::index_sequence<Place...> /*places*/) {
    return std::array<ReadFields, sizeof...(Place)>{[](WireReader& reader) -> WorkerRequest {
        return reader.next<std::variant_alternative_t<Place, WorkerRequest>>();
    }...};
}

// One for each operation, by its number.
constexpr auto field_readers =
    readers_of_all(std::make_index_sequence<std::variant_size_v<WorkerRequest>>());

}  // namespace

void WireReader::refuse_malformed() {
    throw base::Error(base::ErrorCode::internal, "the token worker's frame is malformed");
}

void begin_frame(WireBytes& out) {
    base::wipe(out.data(), out.size());
    out.assign(frame_length_bytes, 0);
}

void end_frame(WireBytes& out) {
    const std::size_t size = out.size() - frame_length_bytes;
    if (size > max_frame_bytes) {
        throw base::Error(base::ErrorCode::invalid_argument,
                          "this is more than the token takes at once");
    }
    for (std::size_t byte = 0; byte < frame_length_bytes; ++byte) {
        out[byte] = static_cast<std::uint8_t>(size >> (8 * (frame_length_bytes - 1 - byte)));
    }
}

void write_request(WireBytes& out, std::uint32_t number, const WorkerRequest& request) {
    begin_frame(out);
    WireWriter writer(out);
    writer(number, static_cast<std::uint8_t>(request.index()));
    std::visit(writer, request);
    end_frame(out);
}

void write_opening(WireBytes& out, std::uint32_t number, const WorkerOpening& opening) {
    begin_frame(out);
    WireWriter writer(out);
    writer(number, opening);
    end_frame(out);
}

void write_head(WireBytes& out, const AnswerHead& head) {
    WireWriter writer(out);
    const auto outcome =
        static_cast<std::uint8_t>(head.error ? 1 + static_cast<int>(*head.error) : 0);
    writer(head.number, head.logins, outcome, head.is_pin_refused);
}

void write_refusal(WireBytes& out, AnswerHead head, const base::Error& error) {
    begin_frame(out);
    head.error = error.code();
    write_head(out, head);
    WireWriter writer(out);
    writer(std::string_view(error.message()).substr(0, max_error_text_bytes),
           std::string_view(error.detail()).substr(0, max_error_text_bytes));
    end_frame(out);
}

NumberedRequest read_request(base::ByteView frame) {
    WireReader reader(frame);
    NumberedRequest read;
    read.number = reader.next<std::uint32_t>();
    const auto operation = reader.next<std::uint8_t>();
    if (operation >= field_readers.size()) WireReader::refuse_malformed();
    read.request = field_readers[operation](reader);
    reader.require_end();
    return read;
}

WorkerOpening read_opening(base::ByteView frame, std::uint32_t& number) {
    WireReader reader(frame);
    number = reader.next<std::uint32_t>();
    // The first that is read: what follows may be other fields in another version.
    WireReader ahead = reader;
    if (ahead.next<std::uint32_t>() != worker_protocol_version)
        base::refuse("kmsd and its token worker are of different versions; install both anew");
    WorkerOpening opening;
    reader(opening);
    reader.require_end();
    return opening;
}

AnswerHead read_head(WireReader& reader) {
    AnswerHead head;
    std::uint8_t outcome = 0;
    reader(head.number, head.logins, outcome, head.is_pin_refused);
    if (outcome > 1 + static_cast<int>(last_error_code)) WireReader::refuse_malformed();
    if (outcome > 0) head.error = static_cast<base::ErrorCode>(outcome - 1);
    return head;
}

base::Error read_refusal(WireReader& reader, base::ErrorCode code) {
    std::string_view message;
    std::string_view detail;
    reader(message, detail);
    reader.require_end();
    if (message.size() > max_error_text_bytes || detail.size() > max_error_text_bytes)
        WireReader::refuse_malformed();
    return {code, std::string(message), std::string(detail)};
}

}  // namespace hsm
