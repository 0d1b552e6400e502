#include "server/audit_report.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <set>

#include "base/clock.h"

namespace server {
namespace {

constexpr std::size_t most_refusals = 200;
constexpr std::size_t most_rows = 50;
constexpr std::size_t hour_length = 13;  // of "2026-11-22T10"
constexpr std::size_t day_length = 10;
constexpr std::size_t month_length = 7;
constexpr std::size_t year_length = 4;
constexpr std::size_t most_bars = 120;
constexpr std::uint64_t unusual_factor = 3;
constexpr std::uint64_t unusual_surplus = 50;

// A document, light on every screen: it looks as it prints.
constexpr const char* page_style =
    ":root{color-scheme:light}"
    "body{font:15px/1.45 system-ui,sans-serif;color:#1b1b1b;background:#fff;margin:2rem auto;"
    "max-width:62rem;padding:0 1rem;overflow-wrap:anywhere}"
    "h1{font-size:1.6rem;margin:0 0 .2rem}"
    "h2{font-size:1.15rem;margin:2rem 0 .5rem;border-bottom:1px solid #999;break-after:avoid}"
    "p{margin:.3rem 0}"
    "table{border-collapse:collapse;table-layout:fixed;width:100%;font-size:.9rem}"
    "th,td{text-align:left;padding:.25rem .6rem .25rem 0;border-bottom:1px solid #ddd;"
    "vertical-align:top}"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;width:6.5em}"
    "td.t,th.t{font-variant-numeric:tabular-nums;width:11em}"
    "th.r,td.r{width:5em}"
    ".verdict{border:2px solid;padding:.6rem .9rem;margin:1rem 0}"
    ".clean{border-color:#1a7f37}.bad{border-color:#b00020}.unknown{border-color:#777}"
    ".figures{display:flex;gap:2rem;flex-wrap:wrap;margin:1rem 0}"
    ".figures b{display:block;font-size:1.5rem}"
    "svg{width:100%;height:auto}.muted{color:#555}"
    "@media print{"
    "body{margin:0;padding:0;max-width:none;font-size:10pt}table{font-size:8.5pt}"
    "rect{print-color-adjust:exact;-webkit-print-color-adjust:exact}"
    "tr,.verdict,svg{break-inside:avoid}thead{display:table-header-group}}";

// How many bytes of a character that turns the direction of the text around it are at `at`: a name
// with one would not be read as it is written (U+202A to U+202E, U+2066 to U+2069).
std::size_t turns_direction(std::string_view text, std::size_t at) {
    constexpr std::size_t bytes = 3;  // of each in UTF-8
    if (text.size() - at < bytes) return 0;
    const auto byte = [&](std::size_t which) {
        return static_cast<unsigned char>(text[at + which]);
    };
    const bool turns =
        byte(0) == 0xe2 && ((byte(1) == 0x80 && byte(2) >= 0xaa && byte(2) <= 0xae) ||
                            (byte(1) == 0x81 && byte(2) >= 0xa6 && byte(2) <= 0xa9));
    return turns ? bytes : 0;
}

std::string escaped(std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (const std::size_t turning = turns_direction(text, at)) {
            out += "\ufffd";
            at += turning - 1;
            continue;
        }
        const char c = text[at];
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

// "1 record", "2 records".
std::string counted(std::uint64_t value, const std::string& one) {
    return grouped(value) + ' ' + one + (value == 1 ? "" : "s");
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
    box += "<p class=\"muted\">" + counted(finding.records, "record") + ", " +
           counted(finding.checkpoints, "checkpoint") + ", the last of which covers " +
           grouped(finding.covered) + " (log " + escaped(finding.last.origin) + ")</p>";
    if (finding.journal_only > 0) {
        box += "<p>At the end, " + counted(finding.journal_only, "record") +
               " in audit.journal alone, as a crash of the machine leaves them.</p>";
    }
    return box + "</div>";
}

template <typename Counts>
std::string count_table(const char* what, const Counts& counts,
                        const std::function<std::string(const std::string&)>& name_cell) {
    if (counts.empty()) return "<p>None.</p>";
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

// What follows on an hour, a day, a month or a year, by the length of its name.
std::string next_slot(const std::string& name) {
    if (name.size() == hour_length || name.size() == day_length) {
        const bool is_hour = name.size() == hour_length;
        const auto time = base::parse_rfc3339(name + (is_hour ? ":00:00Z" : "T00:00:00Z"));
        return base::to_rfc3339(time.value_or(base::Time()) + std::chrono::hours(is_hour ? 1 : 24))
            .substr(0, name.size());
    }
    const int year = std::stoi(name.substr(0, year_length));
    const int month = name.size() == month_length ? std::stoi(name.substr(year_length + 1)) : 12;
    std::string next = std::to_string(month == 12 ? year + 1 : year);
    next.insert(0, year_length - std::min(next.size(), year_length), '0');
    if (name.size() == year_length) return next;
    const std::string digits = std::to_string(month % 12 + 1);
    return next + (digits.size() == 1 ? "-0" : "-") + digits;
}

struct Slot {
    std::uint64_t all = 0;
    std::uint64_t bad = 0;
    bool unusual = false;
};
using Slots = std::map<std::string, Slot>;

// By the hour, or so much coarser that there are not too many; those in which nothing was done are
// there, too.
template <typename Counts>
Slots slots_of(const Counts& hours, const std::vector<std::string>& unusual) {
    Slots slots;
    const std::set<std::string> marked(unusual.begin(), unusual.end());
    for (const std::size_t length : {hour_length, day_length, month_length, year_length}) {
        slots.clear();
        for (const auto& [hour, count] : hours) {
            if (!base::parse_rfc3339(hour + ":00:00Z")) continue;  // no time of ours
            Slot& slot = slots[hour.substr(0, length)];
            slot.all += count.all;
            slot.bad += count.refused + count.failed;
            slot.unusual = slot.unusual || marked.count(hour) == 1;
        }
        if (slots.empty()) break;
        const std::string last = slots.rbegin()->first;
        std::string name = slots.begin()->first;
        while (name < last && slots.size() <= most_bars) slots[name = next_slot(name)];
        if (slots.size() <= most_bars) break;
    }
    return slots;
}

// "2026-11-22 10:00", "2026-11-22", "2026-11", "2026".
std::string slot_label(std::string name) {
    if (name.size() == hour_length) name += ":00";
    std::replace(name.begin(), name.end(), 'T', ' ');
    return escaped(name);
}

// Of the bars' chart, in its own units.
constexpr std::uint64_t plot_left = 64;
constexpr std::uint64_t plot_right = 960;
constexpr std::uint64_t plot_top = 12;
constexpr std::uint64_t plot_bottom = 172;

std::string chart_text(std::uint64_t x, std::uint64_t y, const char* anchor,
                       const std::string& text) {
    return "<text x=\"" + std::to_string(x) + "\" y=\"" + std::to_string(y) +
           "\" font-size=\"13\" text-anchor=\"" + anchor + "\">" + text + "</text>";
}

std::string level_line(std::uint64_t y, const char* colour, std::uint64_t value) {
    return "<line x1=\"" + std::to_string(plot_left) + "\" y1=\"" + std::to_string(y) + "\" x2=\"" +
           std::to_string(plot_right) + "\" y2=\"" + std::to_string(y) + "\" stroke=\"" + colour +
           "\"/>" + chart_text(plot_left - 6, y + 4, "end", grouped(value));
}

std::string bar(double x, double width, std::uint64_t from, std::uint64_t height,
                const char* colour) {
    return "<rect x=\"" + std::to_string(x) + "\" y=\"" +
           std::to_string(plot_bottom - from - height) + "\" width=\"" + std::to_string(width) +
           "\" height=\"" + std::to_string(height) + "\" fill=\"" + colour + "\"/>";
}

// Some of the slots' names below their bars, the first and the last among them.
std::string slot_labels(const Slots& slots, double step) {
    constexpr std::size_t most_labels = 5;
    const std::size_t labels = std::min(most_labels, slots.size());
    std::string svg;
    for (std::size_t i = 0; i < labels; ++i) {
        const std::size_t index = labels == 1 ? 0 : i * (slots.size() - 1) / (labels - 1);
        const auto slot = std::next(slots.begin(), static_cast<std::ptrdiff_t>(index));
        const bool is_last = i > 0 && i + 1 == labels;
        const double middle = (static_cast<double>(index) + 0.5) * step;
        svg += chart_text(i == 0    ? plot_left
                          : is_last ? plot_right
                                    : plot_left + static_cast<std::uint64_t>(middle),
                          plot_bottom + 20,
                          i == 0    ? "start"
                          : is_last ? "end"
                                    : "middle",
                          slot_label(slot->first));
    }
    return svg;
}

// One bar for each hour, day, month or year; those with an unusual hour in another colour.
template <typename Counts>
std::string bars(const Counts& hours, const std::vector<std::string>& unusual) {
    const Slots slots = slots_of(hours, unusual);
    if (slots.empty()) return "<p>There are no operations.</p>";
    std::uint64_t most = 1;
    for (const auto& [name, slot] : slots) most = std::max(most, slot.all);
    constexpr std::uint64_t height = plot_bottom - plot_top;
    constexpr auto width = static_cast<double>(plot_right - plot_left);
    constexpr double widest_bar = 40;
    const double step = width / static_cast<double>(slots.size());
    const double wide = std::min(step * 0.8, widest_bar);
    std::string svg =
        "<svg viewBox=\"0 0 960 200\" role=\"img\" aria-label=\"Operations over time\">";
    svg += level_line(plot_top, "#ddd", most);
    if (most >= 2) svg += level_line(plot_bottom - height * (most / 2) / most, "#ddd", most / 2);
    double x = plot_left;
    for (const auto& [name, slot] : slots) {
        // What is there is seen, however little it is.
        const auto high = [&](std::uint64_t value) {
            return value == 0 ? 0 : std::max<std::uint64_t>(2, value * height / most);
        };
        const std::uint64_t below = std::min(high(slot.bad), height);
        const std::uint64_t above = std::min(high(slot.all - slot.bad), height - below);
        svg += "<g><title>" + slot_label(name) + ": " + std::to_string(slot.all) + ", of which " +
               std::to_string(slot.bad) + " refused or failed</title>" +
               bar(x, wide, 0, below, "#b00020") +
               bar(x, wide, below, above, slot.unusual ? "#d98200" : "#5b8fc4") + "</g>";
        x += step;
    }
    svg += level_line(plot_bottom, "#555", 0) + slot_labels(slots, step);
    const std::size_t length = slots.begin()->first.size();
    return svg +
           "</svg><p class=\"muted\">Blue: done (orange: with an hour of unusual volume). Red: "
           "refused or failed. Times in UTC, one bar for each " +
           (length == hour_length    ? "hour"
            : length == day_length   ? "day"
            : length == month_length ? "month"
                                     : "year") +
           ".</p>";
}

std::string refusal_table(const std::vector<AuditRow>& refusals) {
    std::string table =
        "<table><thead><tr><th class=\"r\">Record</th><th "
        "class=\"t\">Time</th><th>Caller</th><th>Action</th>"
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

std::uint64_t median_hour(const std::map<std::string, std::uint64_t>& per_hour) {
    std::vector<std::uint64_t> counts;
    counts.reserve(per_hour.size());
    for (const auto& [hour, count] : per_hour) counts.push_back(count);
    if (counts.empty()) return 0;
    const auto middle = counts.begin() + static_cast<std::ptrdiff_t>(counts.size() / 2);
    std::nth_element(counts.begin(), middle, counts.end());
    return *middle;
}

std::vector<std::string> unusual_hours(const std::map<std::string, std::uint64_t>& per_hour) {
    std::vector<std::string> unusual;
    const std::uint64_t median = median_hour(per_hour);
    for (const auto& [hour, count] : per_hour) {
        if (count > median * unusual_factor && count >= median + unusual_surplus) {
            unusual.push_back(hour);
        }
    }
    return unusual;
}

void AuditReport::add(const AuditRow& row) {
    if (first_time_.empty()) first_time_ = row.time;
    last_time_ = row.time;
    if (row.outcome == "intent") return;
    const bool refused = row.outcome == "denied" || row.error == "resource_exhausted";
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
        page += "<div class=\"verdict bad\">What is no record in the files: " +
                counted(frame.unreadable, "line") + ".</div>";
    }
    page += "<div class=\"figures\">" + figure(total_.all, "operations") +
            figure(total_.refused, "refused") + figure(total_.failed, "failed") +
            figure(callers_.size() - callers_.count(""), "callers") +
            figure(keys_.size(), "keys and records") + "</div>";
    page += "<h2>Over time</h2>" + bars(hours_, unusual);
    page += "<h2>Unusual volume</h2>";
    if (unusual.empty()) page += "<p>No hour stands out.</p>";
    for (const std::string& hour : unusual) {
        page += "<p>" + slot_label(hour) + " UTC: " + grouped(per_hour.at(hour)) +
                " operations; half of the hours have no more than " +
                grouped(median_hour(per_hour)) + "</p>";
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
