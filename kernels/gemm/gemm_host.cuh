/*
GEMM for the CPU: packed blocks and one register-tile micro-kernel (common/host_gemm.h).

Math      c[m,n] (+)= bias[n] + sum over k of a[m,k] * b[k,n]
Memory    rows of a are read where they lie; a transposed is packed by each block of c that needs it. b too where c is one block
          of rows, else once into the workspace, at most 16 MiB at a time
Threads   over blocks of c; a sum is never shared, so its bits do not depend on the number of threads
Limit     b is packed even where c has so few rows that each element of it is used once or twice
Next      conv2d/forward_host.cuh gathers the rows of a from an image
Storage   float double
*/
#include "../common/host_gemm.h"
#include "gemm.h"

namespace pycnn {

// Columns of b that are packed at a time.
template <class T>
int64_t gemm_host_columns(const GemmShape& p) {
  const int64_t fit = (16 << 20) / int64_t(sizeof(T)) / std::max<int64_t>(p.K, 1) / host::kTileColumns<T> * host::kTileColumns<T>;
  return std::min(p.N, std::max<int64_t>(fit, host::kTileColumns<T>));
}

template <class T>
const char* gemm_host_supports(const GemmShape& p, const Request&, Plan& plan) {
  plan.workspace = host::workspace_bytes<T>(1, p.M, gemm_host_columns<T>(p), p.K);
  return nullptr;
}

template <class T>
void gemm_host(const Plan& plan, Array a, Array b, Array bias, Array c) {
  using namespace host;
  const auto& p = plan.problem<GemmShape>();
  const int64_t step = gemm_host_columns<T>(p);
  const DenseRows<T> rows_of_a{a.as<const T>(), a.pitch, end_of(a.as<const T>(), a.extent[0], a.pitch, a.extent[1])};
  for (int64_t n = 0; n < p.N; n += step) {
    const int64_t columns = std::min(step, p.N - n);
    const DenseRows<T> rows_of_b{b.as<const T>() + (p.trans_b ? n * b.pitch : n), b.pitch,
                                 end_of(b.as<const T>(), b.extent[0], b.pitch, b.extent[1])};
    const Rows<T> out{c.as<T>() + n, c.pitch};
    const Product<T, DenseRows<T>, DenseRows<T>, Rows<T>> product{rows_of_a, rows_of_b, out,
                                                                  bias ? bias.as<const T>() + n : nullptr};
    const auto product_of = [&](int64_t) { return product; };
    using Products = decltype(product_of);
    auto run = p.trans_a   ? p.trans_b ? multiply<T, Layout::strips, Source::across, Products>
                                       : multiply<T, Layout::strips, Source::along, Products>
               : p.trans_b ? multiply<T, Layout::rows, Source::across, Products>
                           : multiply<T, Layout::rows, Source::along, Products>;
    run(1, p.M, columns, p.K, product_of, p.accumulate, plan.workspace_as<T>());
  }
}

REGISTER_VERSION(Gemm, host, 0, "packed blocks, register tiles in vector registers", gemm_host_supports<STORAGE>,
                 gemm_host<STORAGE>);

}  // namespace pycnn
