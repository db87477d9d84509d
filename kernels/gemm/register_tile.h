// The inner loop of every product from gemm_6 on: version 5's, with k as the slow axis of both tiles.
#pragma once
#include "../common/launch.h"

namespace pycnn {

// sum[i][j] += sum over k of a_tile[k][row + i] * b_tile[k][column + j]. The a and b of one k are held in registers: a GPU
// reads them as 16-byte vectors, a host compiler makes one vector of each row of `sum`.
template <int BK, int TM, int TN, class A, class TileA, class TileB>
__device__ __forceinline__ void multiply_tiles(const TileA& a_tile, const TileB& b_tile, int row, int column, A (&sum)[TM][TN]) {
  for (int k = 0; k < BK; k++) {
    A a_column[TM], b_row[TN];
    for (int i = 0; i < TM; i++) a_column[i] = a_tile[k][row + i];
    for (int j = 0; j < TN; j++) b_row[j] = b_tile[k][column + j];
    for (int i = 0; i < TM; i++) {
      for (int j = 0; j < TN; j++) sum[i][j] += a_column[i] * b_row[j];
    }
  }
}

}  // namespace pycnn
