#include "server/tiles.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <system_error>

#include "base/bytes.h"
#include "base/error.h"
#include "base/file.h"

namespace server {
namespace {

using base::Error;
using base::ErrorCode;

constexpr std::size_t hash_bytes = std::tuple_size_v<MerkleHash>;
constexpr std::uint64_t index_group = 1000;
constexpr unsigned tile_mode = 0600;
constexpr unsigned folder_mode = 0700;
constexpr std::string_view entries_level = "entries";

std::string index_path(std::uint64_t index) {
    std::string digits = std::to_string(index % index_group);
    std::string path = std::string(3 - digits.size(), '0') + digits;
    for (index /= index_group; index > 0; index /= index_group) {
        digits = std::to_string(index % index_group);
        std::string group = "x" + std::string(3 - digits.size(), '0');
        group.append(digits).append("/").append(path);
        path = std::move(group);
    }
    return path;
}

// The root of the complete subtree over hashes whose number is a power of two.
MerkleHash fold(std::vector<MerkleHash> hashes, MerkleHasher& hasher) {
    for (std::size_t count = hashes.size(); count > 1; count /= 2) {
        for (std::size_t i = 0; i < count / 2; ++i) {
            hashes[i] = hasher.node(hashes[2 * i], hashes[2 * i + 1]);
        }
    }
    return hashes.front();
}

std::vector<MerkleHash> to_hashes(std::string_view content) {
    std::vector<MerkleHash> hashes(content.size() / hash_bytes);
    for (std::size_t i = 0; i < hashes.size(); ++i) {
        const auto bytes = base::as_bytes(content.substr(i * hash_bytes, hash_bytes));
        std::copy(bytes.begin(), bytes.end(), hashes[i].begin());
    }
    return hashes;
}

void make_folders(const std::filesystem::path& root, const std::filesystem::path& below) {
    std::filesystem::path folder = root;
    for (const auto& part : below) {
        folder /= part;
        if (::mkdir(folder.c_str(), folder_mode) != 0 && errno != EEXIST) {
            throw Error(ErrorCode::unavailable, "the tiles of the audit log can't be written",
                        folder.string() + ": " + std::strerror(errno));
        }
    }
}

// What is asked for is a number of bytes; more in the file is left alone.
std::string read_start(const std::filesystem::path& file, std::size_t bytes) {
    std::string content(bytes, '\0');
    std::ifstream in(file, std::ios::binary);
    in.read(content.data(), static_cast<std::streamsize>(bytes));
    if (static_cast<std::size_t>(in.gcount()) != bytes) content.clear();
    return content;
}

}  // namespace

std::filesystem::path tile_path(std::string_view level, std::uint64_t index, std::uint64_t width) {
    std::filesystem::path path =
        std::filesystem::path("tile") / std::string(level) / index_path(index);
    if (width < tile_width) path += ".p/" + std::to_string(width);
    return path;
}

std::vector<MerkleHash> read_tile(const std::filesystem::path& folder, unsigned level,
                                  std::uint64_t index, std::uint64_t width) {
    const std::string name = std::to_string(level);
    const std::filesystem::path full = folder / tile_path(name, index, tile_width);
    std::string content = read_start(full, width * hash_bytes);
    for (std::uint64_t wide = width; content.empty() && wide < tile_width; ++wide) {
        content = read_start(folder / tile_path(name, index, wide), width * hash_bytes);
    }
    // The partial ones go when the full one comes.
    if (content.empty()) content = read_start(full, width * hash_bytes);
    return to_hashes(content);
}

void TileWriter::restore(std::uint64_t size) {
    levels_.clear();
    tree_.clear();
    unwritten_.clear();
    entries_ = {{}, size / tile_width, 0, true};
    std::size_t top = 0;
    while (size >> (tile_height * (top + 1)) != 0) ++top;
    levels_.resize(top + 1);
    for (std::size_t level = top + 1; level-- > 0;) {
        const std::uint64_t hashes = size >> (tile_height * level);
        Edge& edge = levels_[level];
        edge.index = hashes / tile_width;
        edge.width = hashes % tile_width;
        if (edge.width == 0) continue;
        const auto read = read_tile(folder_, static_cast<unsigned>(level), edge.index, edge.width);
        if (read.empty()) {
            throw Error(ErrorCode::failed_precondition,
                        "the tile " +
                            tile_path(std::to_string(level), edge.index, edge.width).string() +
                            " is missing");
        }
        for (const MerkleHash& hash : read) {
            tree_.append_subtree(static_cast<unsigned>(level) * tile_height, hash);
            edge.content += base::as_text(hash);
        }
    }
}

MerkleHash TileWriter::append(std::string_view entry) {
    const MerkleHash hash = tree_.hasher().leaf(entry);
    tree_.append(hash);
    entries_.fits = entries_.fits && entry.size() <= max_bundled_entry;
    if (entries_.fits) {
        entries_.content += static_cast<char>(static_cast<unsigned char>(entry.size() >> 8U));
        entries_.content += static_cast<char>(static_cast<unsigned char>(entry.size() & 0xFFU));
        entries_.content += entry;
    }
    if (++entries_.width == tile_width) complete(entries_, std::string(entries_level));
    append_hash(0, hash);
    return hash;
}

void TileWriter::append_hash(std::size_t level, const MerkleHash& hash) {
    if (levels_.size() <= level) levels_.resize(level + 1);
    Edge& edge = levels_[level];
    edge.content += base::as_text(hash);
    if (++edge.width < tile_width) return;
    const MerkleHash root = fold(to_hashes(edge.content), tree_.hasher());
    complete(edge, std::to_string(level));
    append_hash(level + 1, root);
}

void TileWriter::complete(Edge& edge, const std::string& level) {
    if (edge.fits) unwritten_.push_back({level, edge.index, std::move(edge.content)});
    edge = {{}, edge.index + 1, 0, true};
}

void TileWriter::write_full(const FullTile& tile) const {
    const std::filesystem::path name = tile_path(tile.level, tile.index, tile_width);
    make_folders(folder_, name.parent_path());
    base::write_file_durably(folder_ / name, tile.content, tile_mode);
    std::error_code ignored;  // a partial tile that stays does no harm
    std::filesystem::remove_all(folder_ / (name.string() + ".p"), ignored);
}

void TileWriter::write_partial(const Edge& edge, const std::string& level) const {
    if (edge.width == 0 || !edge.fits) return;
    const std::filesystem::path name = folder_ / tile_path(level, edge.index, edge.width);
    make_folders(folder_, tile_path(level, edge.index, edge.width).parent_path());
    // Readers see the whole of it or nothing; a crash may lose it.
    const std::filesystem::path fresh = name.string() + ".new";
    std::ofstream out(fresh, std::ios::binary | std::ios::trunc);
    out.write(edge.content.data(), static_cast<std::streamsize>(edge.content.size()));
    out.close();
    if (!out || std::rename(fresh.c_str(), name.c_str()) != 0) {
        throw Error(ErrorCode::unavailable, "the tiles of the audit log can't be written",
                    name.string() + ": " + std::strerror(errno));
    }
}

void TileWriter::flush() {
    while (!unwritten_.empty()) {
        write_full(unwritten_.front());
        unwritten_.erase(unwritten_.begin());
    }
    for (std::size_t level = 0; level < levels_.size(); ++level) {
        write_partial(levels_[level], std::to_string(level));
    }
    write_partial(entries_, std::string(entries_level));
}

void TileReader::load(unsigned level, std::uint64_t tile) {
    const std::uint64_t hashes = size_ >> (tile_height * level);
    const std::uint64_t first = tile * tile_width;
    const std::uint64_t width = std::min(tile_width, hashes > first ? hashes - first : 0);
    Loaded& loaded = loaded_.at(level);
    loaded.tile.reset();
    loaded.hashes = width == 0 ? std::vector<MerkleHash>() : read_tile(folder_, level, tile, width);
    if (loaded.hashes.empty()) {
        throw Error(ErrorCode::not_found,
                    "the tile " + tile_path(std::to_string(level), tile, width).string() +
                        " of the audit log is missing");
    }
    loaded.tile = tile;
}

const MerkleHash& TileReader::hash(unsigned level, std::uint64_t index) {
    const std::uint64_t tile = index / tile_width;
    if (index >= size_ >> (tile_height * level)) {
        throw Error(ErrorCode::not_found, "the tree has no such hash");
    }
    if (loaded_.at(level).tile != tile) load(level, tile);
    return loaded_.at(level).hashes.at(index % tile_width);
}

MerkleHash TileReader::node(unsigned height, std::uint64_t index) {
    const unsigned level = height / tile_height;
    const std::uint64_t count = std::uint64_t{1} << (height % tile_height);
    std::vector<MerkleHash> hashes;
    hashes.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) hashes.push_back(hash(level, index * count + i));
    return fold(std::move(hashes), hasher_);
}

}  // namespace server
