#include "server/merkle.h"

#include <bit>

#include "base/bytes.h"
#include "base/error.h"

namespace server {
namespace {

using namespace std::string_view_literals;

// What a proof is made from.
struct ProofMaker {
    const MerkleNodes& nodes;
    MerkleHasher& hasher;

    // MTH(D[begin:end]); `begin` is a multiple of the largest power of two that fits.
    MerkleHash range(std::uint64_t begin, std::uint64_t end) const {
        const std::uint64_t leaves = end - begin;
        if (std::has_single_bit(leaves)) {
            return nodes(static_cast<unsigned>(std::countr_zero(leaves)), begin / leaves);
        }
        const std::uint64_t left = std::bit_floor(leaves);
        return hasher.node(range(begin, begin + left), range(begin + left, end));
    }
};

// The largest power of two smaller than `leaves`, which is at least 2.
std::uint64_t split(std::uint64_t leaves) { return std::bit_floor(leaves - 1); }

[[noreturn]] void refuse_sizes() {
    throw base::Error(base::ErrorCode::invalid_argument, "the tree has no such size or index");
}

}  // namespace

MerkleHash MerkleHasher::leaf(std::string_view entry) {
    return sha256_.digest_parts({"\0"sv, entry});
}

MerkleHash MerkleHasher::node(const MerkleHash& left, const MerkleHash& right) {
    return sha256_.digest_parts({"\1"sv, base::as_text(left), base::as_text(right)});
}

MerkleHash MerkleHasher::empty_root() { return sha256_.digest({}); }

void MerkleTree::append_subtree(unsigned height, const MerkleHash& root) {
    const std::uint64_t leaves = std::uint64_t{1} << height;
    if (size_ % leaves != 0) {
        throw base::Error(base::ErrorCode::internal, "internal error",
                          "a subtree does not fit the edge of the tree");
    }
    MerkleHash carried = root;
    for (std::uint64_t bit = leaves; (size_ & bit) != 0; bit <<= 1U) {
        carried = hasher_.node(edge_.back(), carried);
        edge_.pop_back();
    }
    edge_.push_back(carried);
    size_ += leaves;
}

MerkleHash MerkleTree::root() {
    if (edge_.empty()) return hasher_.empty_root();
    MerkleHash root = edge_.back();
    for (auto left = edge_.rbegin() + 1; left != edge_.rend(); ++left) {
        root = hasher_.node(*left, root);
    }
    return root;
}

void MerkleTree::clear() {
    size_ = 0;
    edge_.clear();
}

MerkleProof inclusion_proof(std::uint64_t index, std::uint64_t size, const MerkleNodes& nodes,
                            MerkleHasher& hasher) {
    if (index >= size) refuse_sizes();
    const ProofMaker make{nodes, hasher};
    MerkleProof from_the_top;
    std::uint64_t begin = 0;
    std::uint64_t end = size;
    while (end - begin > 1) {
        const std::uint64_t middle = begin + split(end - begin);
        if (index < middle) {
            from_the_top.push_back(make.range(middle, end));
            end = middle;
        } else {
            from_the_top.push_back(make.range(begin, middle));
            begin = middle;
        }
    }
    return {from_the_top.rbegin(), from_the_top.rend()};
}

MerkleProof consistency_proof(std::uint64_t first, std::uint64_t second, const MerkleNodes& nodes,
                              MerkleHasher& hasher) {
    if (first > second) refuse_sizes();
    if (first == 0 || first == second) return {};
    const ProofMaker make{nodes, hasher};
    MerkleProof from_the_top;
    std::uint64_t begin = 0;
    std::uint64_t end = second;
    while (first != end) {
        const std::uint64_t middle = begin + split(end - begin);
        if (first <= middle) {
            from_the_top.push_back(make.range(middle, end));
            end = middle;
        } else {
            from_the_top.push_back(make.range(begin, middle));
            begin = middle;
        }
    }
    // The old root itself is known to who asks; any other subtree of it has to be named.
    if (begin != 0) from_the_top.push_back(make.range(begin, end));
    return {from_the_top.rbegin(), from_the_top.rend()};
}

MerkleHash tree_root(std::uint64_t size, const MerkleNodes& nodes, MerkleHasher& hasher) {
    return size == 0 ? hasher.empty_root() : ProofMaker{nodes, hasher}.range(0, size);
}

bool verify_inclusion(const MerkleHash& leaf, std::uint64_t index, std::uint64_t size,
                      const MerkleProof& proof, const MerkleHash& root, MerkleHasher& hasher) {
    if (index >= size) return false;
    std::uint64_t node = index;
    std::uint64_t last = size - 1;
    MerkleHash reached = leaf;
    for (const MerkleHash& sibling : proof) {
        if (last == 0) return false;
        if ((node & 1U) != 0 || node == last) {
            reached = hasher.node(sibling, reached);
            while ((node & 1U) == 0 && node != 0) {
                node >>= 1U;
                last >>= 1U;
            }
        } else {
            reached = hasher.node(reached, sibling);
        }
        node >>= 1U;
        last >>= 1U;
    }
    return last == 0 && reached == root;
}

bool verify_consistency(std::uint64_t first, const MerkleHash& first_root, std::uint64_t second,
                        const MerkleHash& second_root, const MerkleProof& proof,
                        MerkleHasher& hasher) {
    if (first > second) return false;
    if (first == 0) return proof.empty() && first_root == hasher.empty_root();
    if (first == second) return proof.empty() && first_root == second_root;
    auto next = proof.begin();
    // A first tree that is one complete subtree is its own first step.
    if (!std::has_single_bit(first) && next == proof.end()) return false;
    MerkleHash old_side = std::has_single_bit(first) ? first_root : *next++;
    MerkleHash new_side = old_side;
    std::uint64_t node = first - 1;
    std::uint64_t last = second - 1;
    while ((node & 1U) != 0) {
        node >>= 1U;
        last >>= 1U;
    }
    for (; next != proof.end(); ++next) {
        if (last == 0) return false;
        if ((node & 1U) != 0 || node == last) {
            old_side = hasher.node(*next, old_side);
            new_side = hasher.node(*next, new_side);
            while ((node & 1U) == 0 && node != 0) {
                node >>= 1U;
                last >>= 1U;
            }
        } else {
            new_side = hasher.node(new_side, *next);
        }
        node >>= 1U;
        last >>= 1U;
    }
    return last == 0 && old_side == first_root && new_side == second_root;
}

}  // namespace server
