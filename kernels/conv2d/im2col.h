// How the im2col versions cut their column buffer: in pieces that fit the workspace.
#pragma once
#include <algorithm>

#include "conv2d.h"

namespace pycnn {

// More rows would occupy a GPU no better.
inline constexpr int64_t kColumnBytes = 16 << 20;

// Rows of a column buffer of `columns` elements of `bytes` each, at most `wanted`, `reserved` bytes of workspace being taken.
inline int64_t column_rows(int64_t wanted, int64_t columns, int64_t bytes, const Request& request, int64_t reserved = 0) {
  const int64_t room = std::min(kColumnBytes, request.workspace_limit - reserved);
  return std::min(wanted, room / std::max<int64_t>(columns * bytes, 1));
}

}  // namespace pycnn
