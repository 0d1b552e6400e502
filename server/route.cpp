#include "server/route.h"

#include <algorithm>
#include <array>
#include <forward_list>
#include <iterator>

#include "server/percent.h"

namespace server {
namespace {

// Longer paths than any route's are unknown without a look.
constexpr std::size_t max_segments = 16;

[[noreturn]] void refuse_table(std::string_view pattern, const std::string& why) {
    throw base::Error(base::ErrorCode::internal, "internal error",
                      "route " + std::string(pattern) + ": " + why);
}

[[noreturn]] void refuse_path() {
    throw base::Error(
        base::ErrorCode::invalid_argument,
        "the path holds a malformed or forbidden escape, or a segment \".\" or \"..\"");
}

// The segments of one path; views of it, or of what was decoded.
struct PathSegments {
    std::array<std::string_view, max_segments> items;
    std::size_t count = 0;
    bool too_many = false;
    std::forward_list<std::string> decoded;  // the views need them where they are
};

std::string_view decode(std::string_view segment, PathSegments& segments) {
    const bool plain = std::all_of(segment.begin(), segment.end(),
                                   [](char c) { return c > 0x20 && c < 0x7F && c != '%'; });
    if (!plain) {
        auto text = percent_decode(segment);
        if (!text || text->find('/') != std::string::npos) refuse_path();
        segment = segments.decoded.emplace_front(std::move(*text));
    }
    if (segment == "." || segment == "..") refuse_path();
    return segment;
}

void split(std::string_view path, PathSegments& out) {
    if (path.empty() || path.front() != '/') refuse_path();
    do {
        path.remove_prefix(1);
        const std::string_view segment = path.substr(0, path.find('/'));
        path.remove_prefix(segment.size());
        const std::string_view decoded = decode(segment, out);
        if (out.count == max_segments) {
            out.too_many = true;
            out.decoded.clear();
            continue;
        }
        out.items[out.count++] = decoded;
    } while (!path.empty());
}

bool is_parameter_name(std::string_view name) {
    return !name.empty() && std::all_of(name.begin(), name.end(),
                                        [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; });
}

}  // namespace

RouteTable::Shape RouteTable::parse_pattern(std::string_view pattern) {
    if (pattern.empty() || pattern.front() != '/') refuse_table(pattern, "does not start with '/'");
    Shape shape;
    std::string_view rest = pattern;
    while (!rest.empty()) {
        rest.remove_prefix(1);
        const std::string_view text = rest.substr(0, rest.find('/'));
        rest.remove_prefix(text.size());
        const bool parameter = text.size() > 2 && text.front() == '{' && text.back() == '}';
        const std::string_view name = parameter ? text.substr(1, text.size() - 2) : text;
        if (parameter ? !is_parameter_name(name)
                      : (text.empty() || text.find_first_of("{}%?# ") != std::string_view::npos)) {
            refuse_table(pattern, "has a malformed segment");
        }
        for (const Segment& other : shape.segments) {
            if (parameter && other.parameter && other.text == name)
                refuse_table(pattern, "names a parameter twice");
        }
        shape.segments.push_back({parameter, name});
    }
    if (shape.segments.size() > max_segments) refuse_table(pattern, "has too many segments");
    return shape;
}

bool RouteTable::same_path(const Shape& left, const Shape& right) {
    return std::equal(left.segments.begin(), left.segments.end(), right.segments.begin(),
                      right.segments.end(), [](const Segment& a, const Segment& b) {
                          return a.parameter == b.parameter && (a.parameter || a.text == b.text);
                      });
}

// At the first segment where two shapes differ in kind, the literal one goes first. Two shapes that
// can match one path either differ in kind somewhere or are the same path, so the order decides
// every case.
bool RouteTable::goes_before(const Shape& left, const Shape& right) {
    return std::lexicographical_compare(
        left.segments.begin(), left.segments.end(), right.segments.begin(), right.segments.end(),
        [](const Segment& a, const Segment& b) { return !a.parameter && b.parameter; });
}

std::vector<Route> join(std::vector<Route> rows, std::vector<Route> more) {
    rows.insert(rows.end(), std::make_move_iterator(more.begin()),
                std::make_move_iterator(more.end()));
    return rows;
}

RouteTable::RouteTable(std::vector<Route> routes) : routes_(std::move(routes)) {
    for (std::size_t row = 0; row < routes_.size(); ++row) {
        const Route& route = routes_[row];
        if (route.changes && route.together)
            refuse_table(route.pattern, "changes something and is handled together");
        Shape shape = parse_pattern(route.pattern);
        const auto known = std::find_if(shapes_.begin(), shapes_.end(), [&](const Shape& other) {
            return same_path(other, shape);
        });
        if (known == shapes_.end()) {
            shape.rows.push_back(row);
            shapes_.push_back(std::move(shape));
            continue;
        }
        for (const std::size_t other : known->rows) {
            if (routes_[other].method == route.method)
                refuse_table(route.pattern, "stands twice for one method");
            if (routes_[other].pattern != route.pattern)
                refuse_table(route.pattern, "names its parameters in two ways");
        }
        known->rows.push_back(row);
    }
    std::stable_sort(shapes_.begin(), shapes_.end(), goes_before);
}

bool RouteTable::fits(const Shape& shape, std::span<const std::string_view> segments) {
    return std::equal(shape.segments.begin(), shape.segments.end(), segments.begin(),
                      segments.end(), [](const Segment& wanted, std::string_view given) {
                          return wanted.parameter ? !given.empty() : given == wanted.text;
                      });
}

const RouteTable::Shape* RouteTable::find_shape(std::span<const std::string_view> segments) const {
    const auto found = std::find_if(shapes_.begin(), shapes_.end(), [segments](const Shape& shape) {
        return fits(shape, segments);
    });
    return found == shapes_.end() ? nullptr : &*found;
}

RouteMatch RouteTable::match(Method method, std::string_view path) const {
    PathSegments segments;
    split(path, segments);
    const Shape* shape =
        segments.too_many ? nullptr : find_shape({segments.items.data(), segments.count});
    if (shape == nullptr) throw base::Error(base::ErrorCode::not_found, "no such path");
    for (const std::size_t row : shape->rows) {
        if (routes_[row].method != method) continue;
        RouteMatch result;
        result.route = &routes_[row];
        for (std::size_t i = 0; i < segments.count; ++i) {
            const Segment& segment = shape->segments[i];
            if (segment.parameter) result.parameters.emplace(segment.text, segments.items[i]);
        }
        return result;
    }
    throw base::Error(base::ErrorCode::method_not_allowed, "the path does not take this method");
}

std::string RouteTable::allowed_methods(std::string_view path) const {
    PathSegments segments;
    split(path, segments);
    const Shape* shape =
        segments.too_many ? nullptr : find_shape({segments.items.data(), segments.count});
    std::string result;
    if (shape == nullptr) return result;
    for (const std::size_t row : shape->rows) {
        if (!result.empty()) result += ", ";
        result += to_string(routes_[row].method);
    }
    return result;
}

}  // namespace server
