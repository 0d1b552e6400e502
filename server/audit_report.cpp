#include "server/audit_report.h"

#include <algorithm>
#include <functional>
#include <set>

namespace server {
namespace {

constexpr std::size_t most_refusals = 200;
constexpr std::size_t most_rows = 50;
constexpr std::size_t hour_length = 13;  // of "2026-11-22T10"
constexpr std::size_t day_length = 10;
constexpr std::size_t most_bars = 96;
constexpr std::uint64_t unusual_factor = 3;
constexpr std::uint64_t unusual_surplus = 50;

constexpr const char* page_style =
    "body{font:15px/1.45 system-ui,sans-serif;color:#1b1b1b;background:#fff;margin:2rem auto;"
    "max-width:62rem;padding:0 1rem}h1{font-size:1.6rem;margin:0 0 .2rem}h2{font-size:1.15rem;"
    "margin:2rem 0 .5rem;border-bottom:1px solid #999}p{margin:.3rem 0}table{border-collapse:"
    "collapse;width:100%;font-size:.9rem}th,td{text-align:left;padding:.25rem .6rem .25rem 0;"
    "border-bottom:1px solid #ddd;vertical-align:top;overflow-wrap:break-word}td.n,th.n{text-align:"
    "right;font-variant-numeric:tabular-nums;white-space:nowrap;width:6.5rem}td.t{white-space:"
    "nowrap;font-variant-numeric:tabular-nums}th.r,td.r{width:auto}.verdict{border:2px "
    "solid;padding:"
    ".6rem .9rem;margin:1rem 0}.clean{border-color:#1a7f37}.bad{border-color:#b00020}.unknown{"
    "border-color:#777}.figures{display:flex;gap:2rem;flex-wrap:wrap;margin:1rem 0}.figures b{"
    "display:block;font-size:1.5rem}svg{width:100%;height:auto}.muted{color:#555}@media print{body{"
    "margin:0;padding:0;max-width:none;font-size:10pt}table{font-size:8.5pt}td.n,th.n{width:auto}"
    "td,th{padding-right:.4rem}rect{print-color-adjust:exact;-webkit-print-color-adjust:exact}h2{"
    "break-after:avoid}tr,.verdict,svg{break-inside:"
    "avoid}"
    "thead{display:table-header-group}}";

std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
        switch (c) {
            case '&':
                out += "&amp;";
                break;
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '"':
                out += "&quot;";
                break;
            case '\'':
                out += "&#39;";
                break;
            default:
                out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
        }
    }
    return out;
}

// 12345 as "12 345", with narrow spaces that do not break.
std::string grouped(std::uint64_t value) {
    constexpr std::string_view narrow_space = "\u202f";
    std::string text = std::to_string(value);
    for (std::size_t at = text.size(); at > 3;) {
        at -= 3;
        text.insert(at, narrow_space);
    }
    return text;
}

std::string number_cell(std::uint64_t value) {
    return "<td class=\"n\">" + grouped(value) + "</td>";
}

// Long words may break where they are made of parts.
std::string text_cell(std::string_view text) {
    if (text.empty()) return "<td>–</td>";
    std::string out = "<td>";
    for (const char c : escaped(text)) {
        out += c;
        if (c == '_' || c == '/' || c == '-') out += "<wbr>";
    }
    return out + "</td>";
}

// "2026-11-22T10:00:00.123Z" to the second: the heading says that it is UTC.
std::string time_cell(std::string_view time) {
    constexpr std::size_t to_the_second = 19;
    std::string text = escaped(time.substr(0, to_the_second));
    std::replace(text.begin(), text.end(), 'T', ' ');
    return "<td class=\"t\">" + text + "</td>";
}

// Who showed no certificate has no name.
std::string caller_cell(const std::string& caller) {
    return text_cell(caller.empty() ? "(nobody: not known, or the daemon itself)" : caller);
}

std::string figure(std::uint64_t value, const char* what) {
    return "<div><b>" + grouped(value) + "</b>" + what + "</div>";
}

// "tampered" and so on for an eye that reads no manual.
const char* verdict_words(AuditVerdict verdict) {
    switch (verdict) {
        case AuditVerdict::clean:
            return "The log is complete and unchanged.";
        case AuditVerdict::tampered:
            return "The log was tampered with.";
        case AuditVerdict::inconsistent:
            return "The log's checkpoints are missing or exclude each other.";
        case AuditVerdict::cut_off:
            return "Records are missing at the end of the log.";
    }
    return "";
}

std::string verdict_box(const AuditReport::Frame& frame) {
    if (!frame.finding) {
        return "<div class=\"verdict unknown\"><strong>Not verified.</strong> No public key was "
               "given: this page shows what the files say, not whether they were changed.</div>";
    }
    const AuditFinding& finding = *frame.finding;
    const bool clean = finding.verdict == AuditVerdict::clean;
    std::string box = std::string("<div class=\"verdict ") + (clean ? "clean" : "bad") +
                      "\"><strong>" + verdict_words(finding.verdict) + "</strong>";
    if (!finding.reason.empty()) box += "<p>" + escaped(finding.reason) + "</p>";
    if (finding.first_bad != 0) {
        box += "<p>First record that is not proven good: " + std::to_string(finding.first_bad) +
               "</p>";
    }
    box += "<p class=\"muted\">" + grouped(finding.records) + " records, " +
           grouped(finding.checkpoints) + " checkpoints, the last of which covers " +
           grouped(finding.covered) + " (log " + escaped(finding.last.origin) + ")</p>";
    if (finding.journal_only > 0) {
        box += "<p>The last " + grouped(finding.journal_only) +
               " records stand in audit.journal alone, as a crash of the machine leaves them.</p>";
    }
    return box + "</div>";
}

template <typename Counts>
std::string count_table(const char* what, const Counts& counts,
                        const std::function<std::string(const std::string&)>& name_cell) {
    std::vector<const typename Counts::value_type*> rows;
    rows.reserve(counts.size());
    for (const auto& row : counts) rows.push_back(&row);
    std::stable_sort(rows.begin(), rows.end(), [](const auto* left, const auto* right) {
        return left->second.all > right->second.all;
    });
    std::string table = std::string("<table><thead><tr><th>") + what +
                        "</th><th class=\"n\">Operations</th><th class=\"n\">Refused</th>"
                        "<th class=\"n\">Failed</th></tr></thead><tbody>";
    for (std::size_t i = 0; i < rows.size() && i < most_rows; ++i) {
        const auto& [name, count] = *rows[i];
        table += "<tr>" + name_cell(name) + number_cell(count.all) + number_cell(count.refused) +
                 number_cell(count.failed) + "</tr>";
    }
    table += "</tbody></table>";
    if (rows.size() > most_rows) {
        table += "<p class=\"muted\">and " + std::to_string(rows.size() - most_rows) + " more</p>";
    }
    return table;
}

// One bar for each hour, or for each day when there are many hours; those with an unusual hour in
// another colour.
template <typename Counts>
std::string bars(const Counts& hours, const std::vector<std::string>& unusual) {
    std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> slots;
    const std::size_t length = hours.size() > most_bars ? day_length : hour_length;
    std::uint64_t most = 1;
    std::set<std::string> marked;
    for (const std::string& hour : unusual) marked.insert(hour.substr(0, length));
    for (const auto& [hour, count] : hours) {
        auto& [all, bad] = slots[hour.substr(0, length)];
        all += count.all;
        bad += count.refused + count.failed;
        most = std::max(most, all);
    }
    constexpr std::uint64_t width = 960;
    constexpr std::uint64_t height = 160;
    const std::uint64_t step =
        std::max<std::uint64_t>(1, width / std::max<std::size_t>(1, slots.size()));
    const std::uint64_t bar = std::clamp<std::uint64_t>(step * 4 / 5, 1, 40);
    std::string svg =
        "<svg viewBox=\"0 0 960 190\" role=\"img\" aria-label=\"Operations over time\">";
    std::uint64_t x = 0;
    const auto rectangle = [&](std::uint64_t value, std::uint64_t from, const char* colour) {
        // What is there is seen, however little it is.
        const std::uint64_t high =
            value == 0 ? 0 : std::max<std::uint64_t>(2, value * height / most);
        svg += "<rect x=\"" + std::to_string(x) + "\" y=\"" + std::to_string(height - high - from) +
               "\" width=\"" + std::to_string(bar) + "\" height=\"" + std::to_string(high) +
               "\" fill=\"" + colour + "\"/>";
        return high;
    };
    for (const auto& [name, counts] : slots) {
        const auto& [all, bad] = counts;
        svg += "<g><title>" + escaped(name) + ": " + std::to_string(all) + ", of which " +
               std::to_string(bad) + " refused or failed</title>";
        const std::uint64_t below = rectangle(bad, 0, "#b00020");
        rectangle(all - bad, below, marked.count(name) == 1 ? "#c77700" : "#35618e");
        svg += "</g>";
        x += step;
    }
    svg += "<line x1=\"0\" y1=\"160\" x2=\"960\" y2=\"160\" stroke=\"#555\"/>";
    if (!slots.empty()) {
        svg += "<text x=\"0\" y=\"180\" font-size=\"13\">" + escaped(slots.begin()->first) +
               "</text><text x=\"960\" y=\"180\" font-size=\"13\" text-anchor=\"end\">" +
               escaped(slots.rbegin()->first) +
               "</text><text x=\"960\" y=\"12\" font-size=\"13\" "
               "text-anchor=\"end\">highest: " +
               grouped(most) + "</text>";
    }
    return svg +
           "</svg><p class=\"muted\">Blue: done (orange: unusual volume). Red: refused or failed. "
           "Times in UTC, one bar for each " +
           (length == day_length ? "day" : "hour") + ".</p>";
}

std::string refusal_table(const std::vector<AuditRow>& refusals) {
    std::string table =
        "<table><thead><tr><th class=\"r\">Record</th><th>Time</th><th>Caller</th><th>Action</th>"
        "<th>On</th><th>Why</th></tr></thead><tbody>";
    for (auto row = refusals.rbegin(); row != refusals.rend(); ++row) {
        table +=
            "<tr><td class=\"r\">" + std::to_string(row->sequence) + "</td>" +
            time_cell(row->time) + text_cell(row->caller.empty() ? row->address : row->caller) +
            text_cell(row->action) +
            text_cell(row->resources.empty() ? "" : row->resources.front()) +
            text_cell(row->error + (row->rules.empty() ? "" : ": " + row->rules.back())) + "</tr>";
    }
    return table + "</tbody></table>";
}

}  // namespace

std::vector<std::string> unusual_hours(const std::map<std::string, std::uint64_t>& per_hour) {
    std::vector<std::uint64_t> counts;
    counts.reserve(per_hour.size());
    for (const auto& [hour, count] : per_hour) counts.push_back(count);
    std::vector<std::string> unusual;
    if (counts.empty()) return unusual;
    const auto middle = counts.begin() + static_cast<std::ptrdiff_t>(counts.size() / 2);
    std::nth_element(counts.begin(), middle, counts.end());
    const std::uint64_t median = *middle;
    for (const auto& [hour, count] : per_hour) {
        if (count > median * unusual_factor && count >= median + unusual_surplus) {
            unusual.push_back(hour);
        }
    }
    return unusual;
}

void AuditReport::add(const AuditRow& row) {
    const bool refused = row.error == "permission_denied" || row.error == "unauthenticated" ||
                         row.error == "resource_exhausted";
    const bool failed = !refused && !row.error.empty();
    const auto count = [&](Count& counted) {
        ++counted.all;
        counted.refused += refused ? 1 : 0;
        counted.failed += failed ? 1 : 0;
    };
    count(total_);
    count(hours_[row.time.substr(0, hour_length)]);
    count(callers_[row.caller]);
    count(actions_[row.action]);
    for (const std::string& resource : row.resources) {
        if (!resource.ends_with(":*")) count(keys_[resource]);
    }
    if (refused) {
        refusals_.push_back(row);
        if (refusals_.size() > most_refusals) refusals_.erase(refusals_.begin());
    }
    if (first_time_.empty()) first_time_ = row.time;
    last_time_ = row.time;
}

std::string AuditReport::page(const Frame& frame) const {
    std::map<std::string, std::uint64_t> per_hour;
    for (const auto& [hour, count] : hours_) per_hour[hour] = count.all;
    const auto unusual = unusual_hours(per_hour);
    std::string page =
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
        "'unsafe-inline'\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
        "<title>Audit report</title><style>";
    page += page_style;
    page += "</style></head><body><h1>Audit report</h1><p>" + escaped(frame.title) + "</p>";
    page +=
        "<p class=\"muted\">" +
        (frame.period.empty() ? std::string("All records") : "Records " + escaped(frame.period)) +
        (first_time_.empty() ? std::string()
                             : ", from " + escaped(first_time_.substr(0, 19)) + " to " +
                                   escaped(last_time_.substr(0, 19)) + " UTC") +
        ". Made " + escaped(frame.made_at.substr(0, 19)) + " UTC.</p>";
    page += verdict_box(frame);
    if (frame.unreadable > 0) {
        page += "<div class=\"verdict bad\">" + std::to_string(frame.unreadable) +
                " lines of the files are no records.</div>";
    }
    page += "<div class=\"figures\">" + figure(total_.all, "operations") +
            figure(total_.refused, "refused") + figure(total_.failed, "failed") +
            figure(callers_.size(), "callers") + figure(keys_.size(), "keys and records") +
            "</div>";
    page += "<h2>Over time</h2>" + bars(hours_, unusual);
    page += "<h2>Unusual volume</h2>";
    if (unusual.empty()) page += "<p>No hour stands out.</p>";
    for (const std::string& hour : unusual) {
        page +=
            "<p>" + escaped(hour) + ":00 UTC: " + grouped(per_hour.at(hour)) + " operations</p>";
    }
    page += "<h2>By caller</h2>" + count_table("Caller", callers_, caller_cell);
    page += "<h2>By action</h2>" + count_table("Action", actions_, text_cell);
    page += "<h2>By key or record</h2>" + count_table("Key or record", keys_, text_cell);
    page += "<h2>Refusals</h2>";
    page += refusals_.empty() ? std::string("<p>None.</p>") : refusal_table(refusals_);
    if (total_.refused > refusals_.size()) {
        page += "<p class=\"muted\">The latest " + std::to_string(refusals_.size()) + " of " +
                std::to_string(total_.refused) + "</p>";
    }
    return page + "</body></html>\n";
}

}  // namespace server
